#include "hub/hub_settings.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>

#include "base/testing/temp_folder.h"
#include "hub/http.h"
#include "hub/hub_id.h"

namespace lockstep {
namespace {

using test::error_of;
using test::TempFolder;

// Only what a test sets, with a home of its own.
class Settings : public ::testing::Test {
 protected:
  static constexpr const char* kNames[] = {"HF_ENDPOINT",
                                           "HF_TOKEN",
                                           "HUGGING_FACE_HUB_TOKEN",
                                           "HF_TOKEN_PATH",
                                           "HF_HOME",
                                           "HF_HUB_CACHE",
                                           "HUGGINGFACE_HUB_CACHE",
                                           "XDG_CACHE_HOME",
                                           "HOME",
                                           "HF_HUB_OFFLINE",
                                           "TRANSFORMERS_OFFLINE",
                                           "HF_HUB_DISABLE_IMPLICIT_TOKEN",
                                           "HF_HUB_DOWNLOAD_TIMEOUT"};
  void SetUp() override {
    for (const char* name : kNames) {
      if (const char* value = ::getenv(name)) saved_[name] = value;
      ::unsetenv(name);
    }
    set("HOME", folder_.path().string());
  }
  void TearDown() override {
    for (const char* name : kNames) ::unsetenv(name);
    for (const auto& [name, value] : saved_) set(name.c_str(), value);
  }
  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

  TempFolder folder_;
  std::map<std::string, std::string> saved_;
};

TEST_F(Settings, Defaults) {
  const HubSettings settings = HubSettings::from_environment();
  EXPECT_EQ(settings.endpoint, "https://huggingface.co");
  EXPECT_EQ(settings.token, "");
  EXPECT_EQ(settings.cache, folder_ / ".cache/huggingface/hub");
  EXPECT_FALSE(settings.offline);
  EXPECT_EQ(settings.patience.count(), 10);
}

TEST_F(Settings, TheTokenIsFoundWhereTheHubPutsIt) {
  folder_.write(".cache/huggingface/token", "from home\n");
  EXPECT_TRUE(error_of([] { HubSettings::from_environment(); }).has_value());
  folder_.write(".cache/huggingface/token", " hf_home\r\n");
  EXPECT_EQ(HubSettings::from_environment().token, "hf_home");
  folder_.write("hf/token", "hf_other");
  set("HF_HOME", "~/hf");
  EXPECT_EQ(HubSettings::from_environment().token, "hf_other");
  EXPECT_EQ(HubSettings::from_environment().token_source, folder_ / "hf/token");
  EXPECT_EQ(HubSettings::from_environment().cache, folder_ / "hf/hub");
  set("HF_TOKEN_PATH", folder_.write("third", "hf_third"));
  EXPECT_EQ(HubSettings::from_environment().token, "hf_third");
  set("HF_TOKEN", "  ");
  EXPECT_EQ(HubSettings::from_environment().token, "hf_third");
  set("HF_TOKEN", "hf_variable\n");
  EXPECT_EQ(HubSettings::from_environment().token, "hf_variable");
  EXPECT_EQ(HubSettings::from_environment().token_source, "HF_TOKEN");
  set("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
  EXPECT_EQ(HubSettings::from_environment().token, "");
}

TEST_F(Settings, ATokenThatWouldBreakARequestIsNotSent) {
  set("HF_TOKEN", "hf_a\r\nHost: evil");
  const auto error = error_of([] { HubSettings::from_environment(); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error->message().find("hf_a"), std::string::npos);
  EXPECT_NE(error->message().find("HF_TOKEN"), std::string::npos);
}

TEST_F(Settings, Endpoints) {
  set("HF_ENDPOINT", "http://127.0.0.1:8080/hub//");
  EXPECT_EQ(HubSettings::from_environment().endpoint, "http://127.0.0.1:8080/hub");
  for (const char* bad : {"huggingface.co", "ftp://x", "https://me:pass@x", "https://x?y"}) {
    set("HF_ENDPOINT", bad);
    const auto error = error_of([] { HubSettings::from_environment(); });
    ASSERT_TRUE(error.has_value()) << bad;
    EXPECT_EQ(error->message().find("pass"), std::string::npos);
  }
}

TEST_F(Settings, AFolderNeedsNone) {
  set("HF_ENDPOINT", "nonsense");
  EXPECT_FALSE(error_of([&] { HubSettings::for_model(folder_.path().string()); }).has_value());
  EXPECT_TRUE(error_of([] { HubSettings::for_model("org/name"); }).has_value());
}

TEST_F(Settings, SwitchesAsTheHubReadsThem) {
  for (const char* on : {"1", "true", "YES", "on"}) {
    set("HF_HUB_OFFLINE", on);
    EXPECT_TRUE(HubSettings::from_environment().offline) << on;
  }
  for (const char* off : {"0", "", "no", "2"}) {
    set("HF_HUB_OFFLINE", off);
    EXPECT_FALSE(HubSettings::from_environment().offline) << off;
  }
  set("TRANSFORMERS_OFFLINE", "1");
  EXPECT_TRUE(HubSettings::from_environment().offline);
  for (const char* text : {"30", "-1", "x", "0", "99999999999"}) {
    set("HF_HUB_DOWNLOAD_TIMEOUT", text);
    EXPECT_EQ(HubSettings::from_environment().patience.count(), text[0] == '3' ? 30 : 10) << text;
  }
}

TEST(HubId, Parses) {
  EXPECT_EQ(HubId::parse("org/name@refs/pr/1")->revision, "refs/pr/1");
  EXPECT_EQ(HubId::parse("org/name")->text(), "org/name");
  EXPECT_EQ(HubId::parse("org/name@v1")->text(), "org/name@v1");
  for (const char* bad : {"", "/", "a/b/c", "../x", "org/..", "org/name@", "org/name@../x",
                          "org/name@a//b", "org/na me", "@main", "org/n?x", "./x"}) {
    EXPECT_FALSE(HubId::parse(bad).has_value()) << bad;
  }
}

TEST(Urls, AreShownWithoutSecrets) {
  EXPECT_EQ(shown_url("https://me:pass@x.y/a/b?signature=s#f"), "https://x.y/a/b");
  EXPECT_EQ(shown_url("not one"), "(no URL)");
  EXPECT_EQ(url_encoded("a b/ü%", "/"), "a%20b/%C3%BC%25");
}

}  // namespace
}  // namespace lockstep
