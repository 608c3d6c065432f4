#include "config/options.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "config/explain.h"

namespace poireau::config {
namespace {

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() { reset(); }
  ~OptionsTest() override { reset(); }

  static void reset() {
    for (const OptionInfo& option : all_options()) {
      Text scratch;
      EXPECT_EQ(set(option.name(), option.show_default(scratch), "built-in", Phase::at_load), SetResult::ok);
    }
  }
  static SetResult put(std::string_view name, std::string_view text) { return set(name, text, "test", Phase::at_load); }
  static std::string text_of(std::string_view name) {
    Text scratch;
    return std::string(get(name, scratch).value_or("(unknown)"));
  }
  static uint64_t period() { return options.sample_period.load(std::memory_order_relaxed); }
};

TEST_F(OptionsTest, EveryOptionStartsWithItsDefault) {
  for (const OptionInfo& option : all_options()) {
    Text scratch, fresh;
    EXPECT_EQ(option.show(scratch), option.show_default(fresh)) << option.name();
  }
  EXPECT_EQ(period(), 512u << 10);
  EXPECT_EQ(options.log.load(), LogLevel::error);
  EXPECT_EQ(options.deepbind.load(), Deepbind::strip);
}

TEST_F(OptionsTest, ASizeIsAWholeNumberWithAnOptionalUnit) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"1", 1},
                                                    {"007", 7},
                                                    {"1_000", 1000},
                                                    {"512KiB", 512 << 10},
                                                    {"32M", 32 << 20},
                                                    {"32m", 32 << 20},
                                                    {"32mib", 32 << 20},
                                                    {"3Ki", 3072},
                                                    {"2 GiB", uint64_t{2} << 30},
                                                    {"1KB", 1000},
                                                    {"1 kb", 1000},
                                                    {"5MB", 5'000'000},
                                                    {"7GB", 7'000'000'000},
                                                    {"1TB", 1'000'000'000'000},
                                                    {"12B", 12},
                                                    {"12 b", 12},
                                                    {"1TiB", uint64_t{1} << 40},
                                                    {"1_099_511_627_776", uint64_t{1} << 40}};
  for (const auto& [text, value] : cases) {
    EXPECT_EQ(put("sample_period", text), SetResult::ok) << text;
    EXPECT_EQ(period(), value) << text;
  }
}

TEST_F(OptionsTest, ABadSizeLeavesTheValueAndOrigin) {
  for (const char* text :
       {"abc", "-5",   "+5", "0.01", "1e30", "NaN",   "nan",   "inf", "",    " ",   " 5",    "5 ",  "5  K", "32MM",
        "K",   "0x10", "_1", "1_",   "1__0", "1 K B", "1KiBB", "1iB", "1BB", "1KK", "1,000", "1\n", "\xff"})
    EXPECT_EQ(put("sample_period", text), SetResult::malformed) << text;
  for (const char* text : {"2TiB", "1099511627777", "18446744073709551616", "99999999999999999999999", "16777216TiB",
                           "18446744073709551615T", "1025GiB"})
    EXPECT_EQ(put("sample_period", text), SetResult::out_of_range) << text;
  EXPECT_EQ(period(), 512u << 10);
  EXPECT_EQ(origin(*find("sample_period")), "built-in");
}

TEST_F(OptionsTest, APeriodMayBeAutomatic) {
  EXPECT_EQ(put("sample_period", "auto"), SetResult::ok);
  EXPECT_EQ(period(), kAutoPeriod);
  EXPECT_EQ(text_of("sample_period"), "auto");
  for (const char* text : {"AUTO", "auto ", "automatic", "a"})
    EXPECT_EQ(put("sample_period", text), SetResult::malformed) << text;
  EXPECT_EQ(put("cache", "auto"), SetResult::malformed);
}

TEST_F(OptionsTest, ASizeMayHoldAZeroByteOnlyToBeRefused) {
  EXPECT_EQ(put("sample_period", std::string_view("5\0", 2)), SetResult::malformed);
}

TEST_F(OptionsTest, ACountIsDecimalOrHexadecimalOf64Bits) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"12_345", 12345},
                                                    {"0xFf", 255},
                                                    {"0XdeadBEEF", 0xdeadbeef},
                                                    {"18446744073709551615", ~uint64_t{0}},
                                                    {"0xffff_ffff_ffff_ffff", ~uint64_t{0}}};
  for (const auto& [text, value] : cases) {
    EXPECT_EQ(put("seed", text), SetResult::ok) << text;
    EXPECT_EQ(options.seed.load(), value);
  }
  for (const char* text : {"", "0x", "x1", "1K", "-1", "0xg", "1 "})
    EXPECT_EQ(put("seed", text), SetResult::malformed) << text;
  for (const char* text : {"18446744073709551616", "0x10000000000000000"})
    EXPECT_EQ(put("seed", text), SetResult::out_of_range);
  EXPECT_EQ(options.seed.load(), ~uint64_t{0});
}

TEST_F(OptionsTest, AShareIsAPercentageOrOff) {
  const std::tuple<const char*, uint64_t, const char*> cases[] = {{"0.5%", 5'000, "0.5%"},
                                                                  {"0.5 %", 5'000, "0.5%"},
                                                                  {"0.5", 5'000, "0.5%"},

                                                                  {"5", 50'000, "5%"},
                                                                  {"12.34%", 123'400, "12.34%"},
                                                                  {"0.0001%", 1, "0.0001%"},
                                                                  {"0.01%", 100, "0.01%"},
                                                                  {"100%", 1'000'000, "100%"},
                                                                  {"3.", 30'000, "3%"},
                                                                  {"10.0600%", 100'600, "10.06%"},
                                                                  {"off", 0, "off"}};
  for (const auto& [text, value, shown] : cases) {
    EXPECT_EQ(put("overhead_budget", text), SetResult::ok) << text;
    EXPECT_EQ(options.overhead_budget.load(), value) << text;
    EXPECT_EQ(text_of("overhead_budget"), shown);
  }
  for (const char* text : {"", "%", ".5%", "-1%", "0.5x", "0.x", "1e-3", "on", "0.5%%", "1,5%", "nan", "0.5% ", "0..5"})
    EXPECT_EQ(put("overhead_budget", text), SetResult::malformed) << text;
  for (const char* text : {"0", "0%", "0.0", "101%", "100.0001%", "0.00001%", "99999999999999999999%"})
    EXPECT_EQ(put("overhead_budget", text), SetResult::out_of_range) << text;
  EXPECT_EQ(options.overhead_budget.load(), 0u);
}

TEST_F(OptionsTest, AFlagIsOnOrOffOrTrueOrFalse) {
  Flag flag(false);
  for (const char* text : {"on", "true", "1"}) EXPECT_TRUE(flag.set(text) == SetResult::ok && flag.load()) << text;
  for (const char* text : {"", "yes", "01", "ON", "onn"}) EXPECT_EQ(flag.set(text), SetResult::malformed) << text;
  EXPECT_TRUE(flag.load());
  for (const char* text : {"off", "false", "0"}) EXPECT_TRUE(flag.set(text) == SetResult::ok && !flag.load()) << text;
}

TEST_F(OptionsTest, AChoiceIsOneOfItsNames) {
  const LogLevel levels[] = {LogLevel::off, LogLevel::error, LogLevel::info, LogLevel::debug};
  const char* names[] = {"off", "error", "info", "debug"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(put("log", names[i]), SetResult::ok);
    EXPECT_EQ(options.log.load(), levels[i]);
    EXPECT_EQ(text_of("log"), names[i]);
  }
  for (const char* text : {"", "Debug", "off, error", " off", "warn", "debug\n"})
    EXPECT_EQ(put("log", text), SetResult::malformed) << text;
  EXPECT_EQ(options.log.load(), LogLevel::debug);
  EXPECT_TRUE(put("sample_by", "calls") == SetResult::ok && options.sample_by.load() == SampleBy::calls);
  EXPECT_TRUE(put("deepbind", "keep") == SetResult::ok && options.deepbind.load() == Deepbind::keep);
  EXPECT_TRUE(put("runtimes", "sample") == SetResult::ok && options.runtimes.load() == Runtimes::sample);
}

TEST_F(OptionsTest, EveryChoiceHasItsName) {
  const auto shows = [](auto value, std::string_view text) {
    Text scratch;
    EXPECT_EQ(Choice<decltype(value)>::show(value, scratch), text);
  };
  shows(Placement::slots, "slots");
  shows(Placement::gib, "gib");
  shows(GuardMechanism::automatic, "auto");
  shows(GuardMechanism::markers, "markers");
  shows(GuardMechanism::userfaultfd, "userfaultfd");
  shows(GuardMechanism::mprotect, "mprotect");
  shows(GuardMechanism::none, "none");
  shows(OnError::go_on, "continue");
  shows(OnError::report, "report");
  shows(OnError::abort, "abort");
  shows(Core::include, "include");
  shows(Core::once, "once");
  shows(Core::exclude, "exclude");
}

TEST_F(OptionsTest, GuardIsAWordOrARatePerSecond) {
  const std::pair<const char*, uint64_t> cases[] = {{"all", kGuardAll}, {"governed", kGuardGoverned},
                                                    {"off", kGuardOff}, {"1", 1},
                                                    {"500", 500},       {"1000000", kGuardMostRate}};
  for (const auto& [text, value] : cases) {
    EXPECT_EQ(put("guard", text), SetResult::ok) << text;
    EXPECT_EQ(options.guard.load(), value);
    EXPECT_EQ(text_of("guard"), text);
  }
  for (const char* text : {"", "All", "on", "none", " all", "1/s", "1K", "-1", "0x", "1 "})
    EXPECT_EQ(put("guard", text), SetResult::malformed) << text;
  for (const char* text : {"0", "1000001", "18446744073709551615", "18446744073709551616"})
    EXPECT_EQ(put("guard", text), SetResult::out_of_range) << text;
  EXPECT_EQ(options.guard.load(), kGuardMostRate);
}

TEST_F(OptionsTest, ProtectIsAWordOrAListOfSizesAndCallers) {
  using Which = config::Protect::Which;
  EXPECT_EQ(text_of("protect"), "sampled");
  const std::pair<const char*, Which> words[] = {
      {"all", Which::all}, {"off", Which::off}, {"64..1K, libfoo.so", Which::listed}, {"sampled", Which::sampled}};
  for (const auto& [text, which] : words) {
    EXPECT_EQ(put("protect", text), SetResult::ok) << text;
    EXPECT_EQ(options.protect.which(), which) << text;
    EXPECT_EQ(text_of("protect"), text);
  }
  for (const char* text : {"", ",", " , ", "..", "12x", "5..4", "..0", "4..x", "1..2..3", "a/", "all\n"})
    EXPECT_EQ(put("protect", text), SetResult::malformed) << text;
  for (const char* text : {"2TiB", "..2TiB", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"})
    EXPECT_EQ(put("protect", text), SetResult::out_of_range) << text;
  EXPECT_EQ(options.protect.which(), Which::sampled);
  EXPECT_EQ(put("protect", std::string(513, 'a')), SetResult::out_of_range);
}

TEST_F(OptionsTest, ProtectListsSizesFromAndToAndFilesByTheirLastPart) {
  const auto sizes = [](std::initializer_list<size_t> wanted, std::initializer_list<size_t> others) {
    for (const size_t size : wanted) EXPECT_TRUE(options.protect.wants_size(size)) << size;
    for (const size_t size : others) EXPECT_FALSE(options.protect.wants_size(size)) << size;
  };
  EXPECT_EQ(put("protect", "..16,64..1K, 5000,1MiB.."), SetResult::ok);
  sizes({0, 16, 64, 100, 1024, 5000, 1 << 20, SIZE_MAX}, {17, 63, 1025, 4999, 5001, (1 << 20) - 1});
  EXPECT_FALSE(options.protect.has_callers());
  EXPECT_EQ(put("protect", "/usr/lib/libfoo.so, 7 , redis-server"), SetResult::ok);
  sizes({7}, {0, 6, 8});
  EXPECT_TRUE(options.protect.has_callers());
  EXPECT_TRUE(options.protect.wants_caller(module_hash("libfoo.so")));
  EXPECT_TRUE(options.protect.wants_caller(module_hash("redis-server")));
  EXPECT_FALSE(options.protect.wants_caller(module_hash("libc.so.6")));
  EXPECT_FALSE(options.protect.wants_caller(7));
}

TEST_F(OptionsTest, AStackIsAtMost128FramesDeep) {
  for (const char* text : {"0", "1", "0x40", "128"}) EXPECT_EQ(put("stack_depth", text), SetResult::ok) << text;
  for (const char* text : {"129", "18446744073709551616"})
    EXPECT_EQ(put("stack_depth", text), SetResult::out_of_range) << text;
  EXPECT_EQ(put("stack_depth", "deep"), SetResult::malformed);
  EXPECT_EQ(options.stack_depth.load(), 128u);
}

TEST_F(OptionsTest, NamesHoldUpTo512BytesWithoutControlCharacters) {
  EXPECT_EQ(put("only", std::string(512, 'a')), SetResult::ok);
  EXPECT_EQ(put("only", std::string(513, 'b')), SetResult::out_of_range);
  EXPECT_EQ(put("only", "a\033[2J"), SetResult::malformed);
  EXPECT_EQ(text_of("only"), std::string(512, 'a'));
  EXPECT_EQ(put("only", options.only.view()), SetResult::ok);  // its own text
  EXPECT_EQ(put("only", ""), SetResult::ok);
  EXPECT_EQ(text_of("only"), "");
}

TEST_F(OptionsTest, NamesMatchWholeProgramNamesWithStars) {
  EXPECT_TRUE(names_match("redis-server, nginx", "nginx"));
  EXPECT_TRUE(names_match("redis-*", "redis-server"));
  EXPECT_TRUE(names_match("*", "anything") && names_match("*", ""));
  EXPECT_TRUE(names_match(" ,a*b*c, ", "aXbbYc") && names_match("*.so.*", "x.so.so.6"));
  EXPECT_FALSE(names_match("", "") || names_match("", "x") || names_match(",,", ""));
  EXPECT_FALSE(names_match("redis", "redis-server") || names_match("redis-server", "redis"));
  EXPECT_FALSE(names_match("a*b*c", "aXbbY") || names_match("Nginx", "nginx"));
}

TEST_F(OptionsTest, MatchingManyStarsTakesNoExponentialTime) {
  std::string stars;
  for (int i = 0; i < 100; ++i) stars += "*a";
  EXPECT_FALSE(names_match(stars + "b", std::string(500, 'a')));
}

TEST_F(OptionsTest, ACallersRateIsItsAddressesOrElseItsModules) {
  ASSERT_EQ(put("callers", "libssl.so.3=8, redis-server+0x4a3b0 = 1/16,/usr/lib/noisy.so=0,libssl.so.3+0x10=1/2,"),
            SetResult::ok);
  EXPECT_EQ(options.callers.rate_for(module_hash("libssl.so.3"), 0x11), (Rate{8, 1}));
  EXPECT_EQ(options.callers.rate_for(module_hash("libssl.so.3"), 0x10), (Rate{1, 2}));
  EXPECT_EQ(options.callers.rate_for(module_hash("redis-server"), 0x4a3b0), (Rate{1, 16}));
  EXPECT_EQ(options.callers.rate_for(module_hash("redis-server"), 0), (Rate{1, 1}));
  EXPECT_EQ(options.callers.rate_for(module_hash("noisy.so"), 7), (Rate{0, 1}));
  EXPECT_EQ(options.callers.rate_for(module_hash("other"), 0x10), (Rate{1, 1}));
  EXPECT_EQ(options.callers.highest_rate(), 8u);
}

TEST_F(OptionsTest, TheHighestCallerRateIsAtLeastOne) {
  EXPECT_EQ(options.callers.highest_rate(), 1u);
  ASSERT_EQ(put("callers", "a=0, b=1/1024"), SetResult::ok);
  EXPECT_EQ(options.callers.highest_rate(), 1u);
  ASSERT_EQ(put("callers", "a=1024, b=3"), SetResult::ok);
  EXPECT_EQ(options.callers.highest_rate(), 1024u);
  ASSERT_EQ(put("callers", ""), SetResult::ok);
  EXPECT_EQ(options.callers.highest_rate(), 1u);
  EXPECT_EQ(options.callers.rate_for(module_hash("a"), 0), (Rate{1, 1}));
}

TEST_F(OptionsTest, AModuleNameMayHoldPlusSigns) {
  ASSERT_EQ(put("callers", "libstdc++.so.6=2, c+0x1+0x2=4"), SetResult::ok);
  EXPECT_EQ(options.callers.rate_for(module_hash("libstdc++.so.6"), 1).numerator, 2u);
  EXPECT_EQ(options.callers.rate_for(module_hash("c+0x1"), 2).numerator, 4u);
}

TEST_F(OptionsTest, BadCallersLeaveTheRatesThatWere) {
  ASSERT_EQ(put("callers", "a=5"), SetResult::ok);
  for (const char* text : {"a", "a=b=3", "=3", "a=", "a=x", "a=-1", "a=2/3", "a=1/", "a=1/2/3", "a=1.5", "a+0x=1",
                           "a+0xg=1", "+0x1=1", "dir/=1", "a=1 b=2", "a=1;b=2", "a=\n1", "b=7, c=oops"})
    EXPECT_EQ(put("callers", text), SetResult::malformed) << text;
  std::string seventeen;
  for (int i = 0; i < 17; ++i) seventeen += "m" + std::to_string(i) + "=2,";
  for (const std::string& text :
       {std::string("a=1025"), std::string("a=1/0"), std::string("a=1/1025"), std::string("a=99999999999999999999"),
        std::string("a+0x10000000000000000=1"), seventeen, std::string(1025, ',')})
    EXPECT_EQ(put("callers", text), SetResult::out_of_range) << text;
  EXPECT_EQ(text_of("callers"), "a=5");
  EXPECT_EQ(options.callers.rate_for(module_hash("a"), 0).numerator, 5u);
  EXPECT_EQ(options.callers.highest_rate(), 5u);
}

TEST_F(OptionsTest, AReaderThatRacesWithSetSeesOnlyRatesThatWereAskedFor) {
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    while (!done.load()) {
      const Rate rate = options.callers.rate_for(module_hash("x"), 4);
      const bool known = rate == Rate{1, 1} || rate == Rate{7, 1} || rate == Rate{1, 9};
      if (!known || options.callers.highest_rate() == 0) ++wrong;
    }
  });
  for (int i = 0; i < 20'000; ++i) {
    EXPECT_EQ(put("callers", "y=7,x=7,x+0x4=7"), SetResult::ok);
    EXPECT_EQ(put("callers", "x=1/9"), SetResult::ok);
    EXPECT_EQ(put("callers", ""), SetResult::ok);
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(OptionsTest, AnAliasMeansItsOption) {
  EXPECT_EQ(put("sample_period_bytes", "4096"), SetResult::ok);
  EXPECT_EQ(period(), 4096u);
  EXPECT_EQ(find("sample_period_bytes"), find("sample_period"));
  EXPECT_EQ(text_of("sample_period_bytes"), "4KiB");
}

TEST_F(OptionsTest, OnlyLiveOptionsChangeLater) {
  EXPECT_EQ(set("sample_period", "1", "control socket", Phase::live), SetResult::ok);
  EXPECT_EQ(origin(*find("sample_period")), "control socket");
  for (const OptionInfo& option : all_options()) {
    Text scratch;
    const SetResult wanted = option.changes == Phase::live ? SetResult::ok : SetResult::too_late;
    EXPECT_EQ(set(option.name(), option.show_default(scratch), "test", Phase::live), wanted) << option.name();
  }
}

TEST_F(OptionsTest, AnUnknownNameIsToldWithTheOneProbablyMeant) {
  EXPECT_EQ(put("sampl_period", "1"), SetResult::unknown);
  const auto explained = [](std::string_view name) {
    Text line;
    explain(line, name, SetResult::unknown);
    return std::string(line.view());
  };
  EXPECT_EQ(explained("sampl_period"), "no option is called \"sampl_period\"; did you mean sample_period?");
  EXPECT_EQ(explained("colour"), "no option is called \"colour\"");
  EXPECT_EQ(explained("\033[31m" + std::string(300, 'x')).find('\033'), std::string::npos);
  EXPECT_LT(explained(std::string(3000, 'x')).size(), 100u);
}

TEST_F(OptionsTest, WhatShowGivesSetTakes) {
  const uint64_t seed = 20240607;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random() >> (24 + random() % 40);
    options.sample_period.store(value);
    ASSERT_EQ(put("sample_period", text_of("sample_period")), SetResult::ok);
    ASSERT_EQ(period(), value);
  }
}

}  // namespace
}  // namespace poireau::config
