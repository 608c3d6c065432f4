#include "config/load.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "preload/base/fault.h"

namespace poireau::config {
namespace {

std::vector<std::string> told;

/// A directory to put configuration in; a load() that finds nothing else.
class LoadTest : public testing::Test {
 protected:
  LoadTest() {
    char pattern[] = "/tmp/poireau_load_test.XXXXXX";
    directory_ = mkdtemp(pattern);
    reset();
  }
  ~LoadTest() override {
    std::filesystem::remove_all(directory_);
    reset();
  }

  static void reset() {
    told.clear();
    for (const OptionInfo& option : all_options()) {
      Text scratch;
      EXPECT_EQ(set(option.name(), option.show_default(scratch), "built-in", Phase::at_load), SetResult::ok);
    }
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << text;
    chmod(path(name).c_str(), 0644);
    return path(name);
  }
  void run(const std::vector<std::string>& variables = {}) const {
    std::vector<const char*> environment;
    for (const std::string& variable : variables) environment.push_back(variable.c_str());
    environment.push_back(nullptr);
    load(
        environment.data(), [](std::string_view line) { told.emplace_back(line); }, directory_);
  }
  /// What is said about this text as the system's file, with the directory left out.
  std::vector<std::string> lines_about(const std::string& text) const {
    reset();
    write("poireau.toml", text);
    run();
    for (std::string& line : told)
      if (const size_t at = line.find(directory_); at != std::string::npos) line.erase(at, directory_.size());
    return told;
  }
  static uint64_t period() { return options.sample_period.load(); }
  static std::string text_of(std::string_view name) {
    Text scratch;
    return std::string(get(name, scratch).value_or("(unknown)"));
  }
  using Lines = std::vector<std::string>;

  std::string directory_;
};

const std::string kNoSize =
    "not auto or a size (a whole number, with a suffix like 512KiB or 32M if you like); keeping 512KiB";

TEST_F(LoadTest, NoSourceAtAllLeavesTheDefaultsInSilence) {
  load(
      nullptr, [](std::string_view line) { told.emplace_back(line); }, directory_);
  run({"HOME=" + path("nobody"), "XDG_CONFIG_HOME=/dev/null", "PATH=/bin", "NOT_POIREAU_SEED=1", "POIREAU_CONFIG="});
  EXPECT_EQ(told, Lines{});
  EXPECT_EQ(period(), 512u << 10);
}

TEST_F(LoadTest, ALaterSourceWinsAndIsTheOrigin) {
  const std::string system = write("poireau.toml", "sample_period = 1\nseed = 1\nonly = 'a'\nexclude = 'a'\n");
  const std::string user = write("xdg/poireau/config.toml", "sample_period = 2\nseed = 2\nonly = 'b'\n");
  const std::string named = write("named", "sample_period = 3\nseed = 3\n");
  run({"XDG_CONFIG_HOME=" + path("xdg"), "POIREAU_CONFIG=" + named, "POIREAU_SAMPLE_PERIOD=4"});
  EXPECT_EQ(told, Lines{});
  EXPECT_EQ(period(), 4u);
  EXPECT_EQ(options.seed.load(), 3u);
  EXPECT_EQ(text_of("only"), "b");
  EXPECT_EQ(text_of("exclude"), "a");
  EXPECT_EQ(origin(*find("sample_period")), "environment");
  EXPECT_EQ(origin(*find("seed")), named);
  EXPECT_EQ(origin(*find("only")), user);
  EXPECT_EQ(origin(*find("exclude")), system);
  EXPECT_EQ(origin(*find("log")), "built-in");
}

TEST_F(LoadTest, TheUsersFileIsUnderHomeUnlessXdgSaysOtherwise) {
  write("home/.config/poireau/config.toml", "seed = 1");
  write("xdg/poireau/config.toml", "seed = 2");
  run({"HOME=" + path("home")});
  EXPECT_EQ(options.seed.load(), 1u);
  run({"HOME=" + path("home"), "XDG_CONFIG_HOME=" + path("xdg")});
  EXPECT_EQ(options.seed.load(), 2u);
  run({"HOME=" + path("home"), "XDG_CONFIG_HOME=xdg"});  // relative: as if it were not set
  EXPECT_EQ(options.seed.load(), 1u);
  EXPECT_EQ(told, Lines{});
}

TEST_F(LoadTest, NoFileIsFoundThroughTheWorkingDirectory) {
  write(".config/poireau/config.toml", "seed = 5");
  write("poireau/config.toml", "seed = 6");
  write("named", "seed = 7");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory_);
  run({"HOME=.", "XDG_CONFIG_HOME=."});
  EXPECT_EQ(told, Lines{});
  run({"POIREAU_CONFIG=named"});
  std::filesystem::current_path(before);
  EXPECT_EQ(told, Lines{"poireau: POIREAU_CONFIG: it must be an absolute path; going on without it"});
  EXPECT_EQ(options.seed.load(), 0u);
}

TEST_F(LoadTest, AnAliasInTheEnvironmentYieldsToTheName) {
  run({"POIREAU_SAMPLE_PERIOD_BYTES=4096"});
  EXPECT_EQ(period(), 4096u);
  for (const bool alias_first : {true, false}) {
    run({alias_first ? "POIREAU_SAMPLE_PERIOD_BYTES=1" : "POIREAU_SAMPLE_PERIOD=2",
         alias_first ? "POIREAU_SAMPLE_PERIOD=2" : "POIREAU_SAMPLE_PERIOD_BYTES=1"});
    EXPECT_EQ(period(), 2u);
  }
  run({"POIREAU_SEED=1", "POIREAU_SEED=2"});  // getenv takes the first too
  EXPECT_EQ(options.seed.load(), 1u);
  EXPECT_EQ(told, Lines{});
}

TEST_F(LoadTest, ABadVariableIsToldInOneLine) {
  run({"POIREAU_SAMPLE_PERIOD=-5", "POIREAU_LOG=loud", "POIREAU_SEED", "POIREAU_SAMPL_PERIOD=1",
       "POIREAU_=", "POIREAU_ONLY=" + std::string(100'000, '\033')});
  EXPECT_EQ(told.size(), 6u);
  EXPECT_EQ(told.at(5), "poireau: POIREAU_SAMPLE_PERIOD=\"-5\": " + kNoSize);
  EXPECT_EQ(told.at(4), "poireau: POIREAU_LOG=\"loud\": not one of off, error, info, debug; keeping error");
  EXPECT_EQ(told.at(3), "poireau: POIREAU_SEED=\"\": not a whole number (12 or 0xC); keeping 0");
  EXPECT_EQ(told.at(2),
            "poireau: POIREAU_SAMPL_PERIOD: no option is called \"sampl_period\"; did you mean sample_period?");
  EXPECT_EQ(told.at(1), "poireau: POIREAU_: no option is called \"\"");
  EXPECT_TRUE(told.at(0).starts_with("poireau: POIREAU_ONLY=\"\\x1b\\x1b")) << told.at(0);
  EXPECT_TRUE(told.at(0).ends_with("...\": out of range (up to 512 bytes); keeping \"\"")) << told.at(0);
}

TEST_F(LoadTest, ABadValueIsToldWithFileLineAndKey) {
  for (const char* bad : {"abc", "-5", "0.01", "1e30", "NaN", "32MM"})
    EXPECT_EQ(lines_about("# one\n\nsample_period = \"" + std::string(bad) + "\""),
              Lines{"poireau: /poireau.toml:3: sample_period = \"" + std::string(bad) + "\": " + kNoSize});
  EXPECT_EQ(lines_about("sample_period = 2TiB"),
            Lines{"poireau: /poireau.toml:1: sample_period = \"2TiB\": out of range (auto, 0..1TiB); keeping 512KiB"});
  EXPECT_EQ(lines_about("\nsampl_period = 1"),
            Lines{"poireau: /poireau.toml:2: no option is called \"sampl_period\"; did you mean sample_period?"});
  EXPECT_EQ(lines_about("sample_period = \"a\tb\x01\xff\""),
            Lines{"poireau: /poireau.toml:1: sample_period = \"a\\x09b\\x01\\xff\": " + kNoSize});
  EXPECT_EQ(period(), 512u << 10);
}

TEST_F(LoadTest, AMalformedLineIsToldAndReadingGoesOn) {
  const std::pair<const char*, const char*> cases[] = {
      {"nonsense", "not of the form key = value"},
      {"= 3", "not of the form key = value"},
      {"a.b = 3", "not of the form key = value"},
      {"sample_period =", "sample_period: the value is missing; keeping 512KiB"},
      {"sample_period = # 3", "sample_period: the value is missing; keeping 512KiB"},
      {"only = \"a", "only: the string has no end; keeping \"\""},
      {"only = 'a\"", "only: the string has no end; keeping \"\""},
      {"only = \"\\n\"", "only: in a string \\ can only stand before \" or \\; keeping \"\""},
      {"only = \"a\" b", "only: something follows the value; keeping \"\""},
      {"only = \"\"\"", "only: something follows the value; keeping \"\""},
      {"only = [\"a\"", "only: a list needs commas between its strings, and ] on its line; keeping \"\""},
      {"only = [", "only: a list holds strings, and ends on its line; keeping \"\""},
      {"only = [1]", "only: a list holds strings, and ends on its line; keeping \"\""},
      {"only = a\"b", "only: a quote or bracket in a value without quotes; keeping \"\""}};
  for (const auto& [line, problem] : cases) {
    EXPECT_EQ(lines_about(std::string(line) + "\nseed = 9"),
              Lines{"poireau: /poireau.toml:1: " + std::string(problem)});
    EXPECT_EQ(options.seed.load(), 9u) << line;
  }
}

TEST_F(LoadTest, AllOfTheSubsetIsUnderstood) {
  EXPECT_EQ(lines_about("\xEF\xBB\xBF# comment\r\n\t\r\n [poireau] # ours\r\n  sample_period=\t1_000 KB # a size\r\n"
                        "sample_by = 'calls'#\r\nlog = info\r\nseed = 0xFF\r\n"
                        "only = [\"a#\\\"b\\\\\" , 'c\\d',]\r\nexclude = []\r\ncallers = [ 'x.so=8', \"y=1/4\" ]"),
            Lines{});
  EXPECT_EQ(period(), 1'000'000u);
  EXPECT_EQ(options.sample_by.load(), SampleBy::calls);
  EXPECT_EQ(options.log.load(), LogLevel::info);
  EXPECT_EQ(options.seed.load(), 255u);
  EXPECT_EQ(text_of("only"), "a#\"b\\, c\\d");
  EXPECT_EQ(options.callers.rate_for(module_hash("y"), 0), (Rate{1, 4}));
}

TEST_F(LoadTest, AForeignSectionIsToldOnceAndSkipped) {
  EXPECT_EQ(lines_about("seed = 1\n[other]\nseed = 2\njunk\n[poireau]\nsample_period = 7\n"),
            Lines{"poireau: /poireau.toml:2: the only section is [poireau]; this one is skipped"});
  EXPECT_EQ(options.seed.load(), 1u);
  EXPECT_EQ(period(), 7u);
}

TEST_F(LoadTest, AFileGetsEightComplaintsAndOneMore) {
  std::string junk;
  for (int i = 0; i < 10'000; ++i) junk += "?\n";
  const Lines lines = lines_about(junk + "seed = 3");
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_EQ(lines[7], "poireau: /poireau.toml:8: not of the form key = value");
  EXPECT_EQ(lines[8], "poireau: /poireau.toml: further errors not shown");
  EXPECT_EQ(options.seed.load(), 3u);
}

TEST_F(LoadTest, AnOverlongLineIsToldInAShortOne) {
  for (const std::string& line : {"only = \"" + std::string(5000, 'x') + "\"", "only = " + std::string(5000, 'x'),
                                  std::string(5000, 'x') + " = 1", std::string(5000, 'x')}) {
    const Lines lines = lines_about(line + "\nseed = 4");
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_LT(lines[0].size(), 300u);
    EXPECT_EQ(options.seed.load(), 4u);
  }
}

TEST_F(LoadTest, AFileThatIsNoConfigurationIsSkippedWithOneLine) {
  const auto told_of = [&](const std::string& file) {
    told.clear();
    run({"POIREAU_CONFIG=" + file});
    EXPECT_EQ(options.seed.load(), 0u);
    return told.size() == 1 ? told[0] : std::to_string(told.size()) + " lines";
  };
  const auto line = [](const std::string& file, const std::string& problem) {
    return "poireau: " + file + ": " + problem + "; going on without it";
  };
  EXPECT_EQ(told_of(path("none")), line(path("none"), "no such file or directory"));
  EXPECT_EQ(told_of(path("none\n")), line(path("none\\x0a"), "no such file or directory"));
  EXPECT_EQ(told_of(directory_), line(directory_, "it is not a regular file"));
  EXPECT_EQ(told_of("/dev/zero"), line("/dev/zero", "it is not a regular file"));
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(told_of(path("fifo")), line(path("fifo"), "it is not a regular file"));
  const std::string open = write("open", "seed = 1");
  chmod(open.c_str(), 0666);
  EXPECT_EQ(told_of(open), line(open, "anybody may write to it"));
  const std::string large = write("large", "seed = 1\n" + std::string(10 << 20, '#'));
  EXPECT_EQ(told_of(large), line(large, "it is larger than 64KiB"));
  EXPECT_EQ(told_of("/" + std::string(5000, 'x')),
            "poireau: POIREAU_CONFIG: the path is too long; going on without it");
}

TEST_F(LoadTest, AFileOf64KiBIsReadAndOneByteMoreIsNot) {
  const std::string start = "seed = 1\n";
  EXPECT_EQ(lines_about(start + std::string((64 << 10) - start.size(), '#')), Lines{});
  EXPECT_EQ(options.seed.load(), 1u);
  EXPECT_EQ(lines_about(start + std::string((64 << 10) + 1 - start.size(), '#')).size(), 1u);
  EXPECT_EQ(options.seed.load(), 0u);
}

TEST_F(LoadTest, AnUnreadableDefaultFileIsToldToo) {
  // By a fault, for chmod doesn't stop root.
  write("poireau.toml", "seed = 1");
  fault::error = EACCES;
  fault::countdown = 0;
  run();
  EXPECT_EQ(told, Lines{"poireau: " + path("poireau.toml") + ": permission denied; going on without it"});
}

TEST_F(LoadTest, TheLastLogLevelDecidesOverAllComplaints) {
  write("poireau.toml", "junk\nlog = info\n");
  const std::string named = write("named", "more junk\nlog = off\n");
  run({"POIREAU_CONFIG=" + named});
  EXPECT_EQ(told, Lines{});
  run({"POIREAU_LOG=off", "POIREAU_SEED=x"});
  EXPECT_EQ(told, Lines{});
  run({"POIREAU_CONFIG=" + named, "POIREAU_LOG=error"});
  EXPECT_EQ(told.size(), 2u);
}

TEST_F(LoadTest, ComplaintsBeyondTheBufferAreCutWithALineThatSaysSo) {
  const std::string deep = "d" + std::string(150, '\x01');
  std::string bad;
  for (int i = 0; i < 8; ++i) bad += "callers = '" + std::string(40, '\x02') + "'\n";
  std::vector<std::string> variables = {"XDG_CONFIG_HOME=" + path(deep),
                                        "POIREAU_CONFIG=" + write(deep + "/named", bad)};
  write(deep + "/poireau/config.toml", bad);
  write("poireau.toml", bad);
  for (int i = 0; i < 20; ++i) variables.push_back("POIREAU_CALLERS=" + std::string(100, '\x03'));
  run(variables);
  EXPECT_LE(told.size(), 36u);
  EXPECT_TRUE(told.back().ends_with("further errors not shown"));
  for (const std::string& line : told) EXPECT_TRUE(line.starts_with("poireau: ")) << line;
}

TEST_F(LoadTest, AnyFailingSystemCallLeavesTheFilesValuesOrTheDefaults) {
  const std::string named = write("named", "sample_period = 4096\nseed = 7\nbad\n");
  for (const int error : {ENOMEM, EACCES, EIO, ENOENT, EINTR}) {
    const int calls = fault::for_each_fault(
        [&] {
          reset();
          run({"POIREAU_CONFIG=" + named});
          const bool from_file = period() == 4096 && options.seed.load() == 7;
          const bool defaults = period() == 512u << 10 && options.seed.load() == 0;
          EXPECT_TRUE(from_file || defaults);
          EXPECT_TRUE(told.size() == 1 || (from_file && told.size() == 2));
        },
        error);
    EXPECT_EQ(calls, 6);  // the system's open; open, fstat, read twice, close
  }
}

TEST_F(LoadTest, TheGeneratedFileSetsEveryOptionToItsDefault) {
  const auto source = std::filesystem::path(__FILE__).parent_path() / "../../config/poireau.toml";
  std::ifstream file(source);
  std::string text, line;
  size_t settings = 0;
  while (std::getline(file, line)) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    settings += setting;
    text += (setting ? line.substr(1) : line) + "\n";
  }
  EXPECT_EQ(settings, all_options().size());
  EXPECT_EQ(lines_about(text), Lines{});
  for (const OptionInfo& option : all_options()) {
    Text scratch, fresh;
    EXPECT_EQ(option.show(scratch), option.show_default(fresh)) << option.name();
    EXPECT_EQ(origin(option), path("poireau.toml")) << option.name();
  }
}

}  // namespace
}  // namespace poireau::config
