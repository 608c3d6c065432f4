#include "preload/callers.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include "config/options.h"
#include "preload/process.h"

namespace poireau {
namespace {

int here() { return 1; }
const void* const kHere = reinterpret_cast<const void*>(&here);

void callers(const std::string& text) {
  ASSERT_EQ(config::set("callers", text, "test", config::Phase::live), config::SetResult::ok) << text;
}

TEST(Callers, AreKnownByModuleAndByOffset) {
  process::begin();
  Dl_info info;
  ASSERT_NE(dladdr(kHere, &info), 0);
  char offset[32];
  snprintf(offset, sizeof offset, "%#lx",
           reinterpret_cast<uintptr_t>(kHere) - reinterpret_cast<uintptr_t>(info.dli_fbase));
  callers("");
  EXPECT_EQ(callers::period_of(kHere, 1000), 1000u);
  callers("callers_test=8");
  EXPECT_EQ(callers::period_of(kHere, 1000), 125u);
  EXPECT_EQ(callers::period_of(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), 1000), 1000u);
  callers("callers_test=8, callers_test+" + std::string(offset) + "=1/4");
  EXPECT_EQ(callers::period_of(kHere, 1000), 4000u);
  callers("libc.so.6=0");
  EXPECT_EQ(callers::period_of(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), 1000), callers::kNever);
  EXPECT_EQ(callers::period_of(nullptr, 1000), 1000u) << "code of no file";
  callers("");
}

TEST(Callers, TheFinestPeriodIsThatOfTheHighestRate) {
  callers("a.so=8, b.so=1/64");
  EXPECT_EQ(callers::finest(4096), 512u);
  EXPECT_EQ(callers::finest(3), 1u);
  EXPECT_EQ(callers::finest(0), 0u) << "off is off";
  callers("a.so=1/8");
  EXPECT_EQ(callers::finest(4096), 4096u);
  callers("");
}

}  // namespace
}  // namespace poireau
