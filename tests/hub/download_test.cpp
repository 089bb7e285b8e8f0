// Downloads into the cache, when all goes well and when not.
#include "hub/download.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "hub/checkpoint.h"
#include "hub/content_hash.h"
#include "hub/file_download.h"
#include "test_hub.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

class DownloadTest : public HubTest {
 protected:
  fs::path download(const std::string& id = kModel) {
    return download_model(settings_, *HubId::parse(id), DownloadParts::kAll);
  }
  std::optional<Error> failure(const std::string& id = kModel) {
    return error_of([&] { download(id); });
  }
  void expect_failure(ErrorCode code, const std::string& says, const std::string& id = kModel) {
    const std::optional<Error> error = failure(id);
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), code) << error->message();
    EXPECT_NE(error->message().find(says), std::string::npos) << error->message();
    EXPECT_FALSE(error->hint().empty());
    EXPECT_EQ((error->message() + error->hint()).find(kToken), std::string::npos);
  }
  // Nothing is called a weight but what is one.
  void expect_absent() { EXPECT_FALSE(fs::exists(snapshot() / "model.safetensors")); }
  std::vector<std::string> ranges_of_weights() const {
    std::vector<std::string> ranges;
    for (const ServedRequest& request : hub_.requests()) {
      if (request.target.ends_with("model.safetensors")) ranges.push_back(request.range);
    }
    return ranges;
  }
};

TEST(ContentHash, NamesAsGitAndSha256Do) {
  const std::string text = "hello\n";
  ContentHash git(ContentHash::Kind::kGitBlob, text.size());
  git.add(std::as_bytes(std::span(text)));
  EXPECT_EQ(git.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");
  ContentHash sha(ContentHash::Kind::kSha256, text.size());
  sha.add(std::as_bytes(std::span(text)));
  EXPECT_EQ(sha.finish(), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

TEST_F(DownloadTest, LaysTheCacheOutAsTheHubDoes) {
  EXPECT_EQ(download(), snapshot());
  EXPECT_EQ(read_bytes(repository() / "refs/main"), hub_.models[kModel].commit);
  for (const char* path : {"config.json", "README.md", "tokenizer.json", "model.safetensors"}) {
    const ServedFile& file = hub_.models[kModel].files[path];
    EXPECT_EQ(fs::read_symlink(snapshot() / path), "../../blobs/" + etag_of(file));
    EXPECT_EQ(read_bytes(snapshot() / path), full(file));
    EXPECT_TRUE(
        fs::exists(settings_.cache / ".locks/models--org--tiny" / (etag_of(file) + ".lock")));
  }
  for (const char* path : {"pytorch_model.bin", "original"}) {
    EXPECT_FALSE(fs::exists(snapshot() / path)) << path;
  }
  size_t n_entries = 0;
  for (const auto& entry : fs::directory_iterator(repository() / "blobs")) {
    n_entries += entry.is_regular_file();
  }
  EXPECT_EQ(n_entries, 4u);
}

TEST_F(DownloadTest, AsksForNothingTwice) {
  download();
  hub_.forget_requests();
  download();
  ASSERT_EQ(hub_.requests().size(), 1u);
  EXPECT_EQ(hub_.requests()[0].target, "/api/models/org/tiny/revision/main?blobs=true");
}

TEST_F(DownloadTest, RevisionsShareBlobs) {
  download();
  hub_.forget_requests();
  hub_.models[kModel].commit = "fedcba9876543210fedcba9876543210fedcba98";
  hub_.models[kModel].files["README.md"] = small_file("# tiny, again\n");
  download("org/tiny@refs/pr/1");
  EXPECT_EQ(hub_.requests().size(), 2u);
  EXPECT_EQ(hub_.count("README.md"), 1u);
  EXPECT_EQ(hub_.count("/api/models/org/tiny/revision/refs%2Fpr%2F1"), 1u);
  EXPECT_EQ(read_bytes(repository() / "refs/refs/pr/1"), hub_.models[kModel].commit);
  EXPECT_NE(read_bytes(repository() / "refs/main"), hub_.models[kModel].commit);
  expect_whole();
}

TEST_F(DownloadTest, ACommitNeedsNoRef) {
  download("org/tiny@" + hub_.models[kModel].commit);
  EXPECT_FALSE(fs::exists(repository() / "refs"));
  expect_whole();
}

TEST_F(DownloadTest, FetchesWhatTheIndexNames) {
  ServedModel& model = hub_.models[kModel];
  model.files.erase("model.safetensors");
  model.files["consolidated.safetensors"] = safetensors_of({"a"}, 9);
  model.files["sub/model-1.safetensors"] = safetensors_of({"a"}, 10);
  model.files["model-2.safetensors"] = safetensors_of({"b"}, 10);
  model.files["model.safetensors.index.json"] =
      small_file(R"({"weight_map": {"a": "sub/model-1.safetensors", "b": "model-2.safetensors"}})");
  EXPECT_EQ(Checkpoint::open(download()).tensors().size(), 2u);
  EXPECT_EQ(fs::read_symlink(snapshot() / "sub/model-1.safetensors").string().substr(0, 15),
            "../../../blobs/");
  EXPECT_EQ(hub_.count("consolidated"), 0u);
  model.files.erase("model-2.safetensors");
  expect_failure(ErrorCode::kNotFound, "org/tiny: expected model-2.safetensors on the Hub");
}

TEST_F(DownloadTest, WeightsComeWhenTheyAreAskedFor) {
  download_model(settings_, *HubId::parse(kModel), DownloadParts::kAllButWeights);
  EXPECT_TRUE(fs::exists(snapshot() / "tokenizer.json"));
  expect_absent();
  EXPECT_TRUE(ranges_of_weights().empty());
  EXPECT_TRUE(find_model(kModel, settings_).is_missing);
  download();
  expect_whole();
  EXPECT_FALSE(find_model(kModel, settings_).is_missing);
}

TEST_F(DownloadTest, TakesSizesFromTheFilesWhereTheListingHasNone) {
  HubServer storage;
  storage.holds = &hub_;
  hub_.storage = storage.url("localhost");
  hub_.models[kModel].is_terse = true;
  download();
  expect_whole();
  EXPECT_EQ(fs::read_symlink(snapshot() / "config.json"),
            "../../blobs/" + etag_of(hub_.models[kModel].files["config.json"]));
  for (const ServedRequest& request : storage.requests()) EXPECT_EQ(request.method, "GET");
}

TEST_F(DownloadTest, TheTokenIsSeenByTheEndpointAlone) {
  settings_.token = kToken;
  settings_.token_source = "HF_TOKEN";
  set_log_level(LogLevel::kDebug);
  ::testing::internal::CaptureStderr();
  for (const char* host : {"localhost", "127.0.0.1"}) {
    HubServer storage;
    storage.holds = &hub_;
    hub_.storage = storage.url(host);
    std::atomic<int> n{0};
    storage.fault = [&](const ServedRequest&) {
      return n.fetch_add(1) == 0 ? Fault{.status = 503} : Fault();
    };
    settings_.cache = temp_ / host;
    download();
    expect_whole();
    ASSERT_EQ(storage.requests().size(), 2u);
    for (const ServedRequest& request : storage.requests()) {
      EXPECT_EQ(request.authorization, "");
      EXPECT_NE(request.target.find("signature=s3cret"), std::string::npos);
    }
  }
  for (const ServedRequest& request : hub_.requests()) {
    EXPECT_EQ(request.authorization, std::string("Bearer ") + kToken);
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  set_log_level(LogLevel::kInfo);
  EXPECT_NE(log.find("HTTP 503 from"), std::string::npos) << log;
  EXPECT_EQ(log.find(kToken), std::string::npos) << log;
  EXPECT_EQ(log.find("s3cret"), std::string::npos) << log;
}

TEST_F(DownloadTest, ARedirectWithinTheEndpointKeepsTheToken) {
  settings_.token = kToken;
  hub_.fault = [&](const ServedRequest& request) {
    const size_t at = request.target.find("org/old");
    if (at == std::string::npos) return Fault();
    std::string target = request.target;
    return Fault{.status = 307, .headers = {{"Location", target.replace(at, 7, kModel)}}};
  };
  EXPECT_EQ(download("org/old").parent_path().parent_path(), settings_.cache / "models--org--old");
  EXPECT_GT(hub_.count("org/tiny"), 4u);
  for (const ServedRequest& request : hub_.requests()) {
    EXPECT_EQ(request.authorization, std::string("Bearer ") + kToken) << request.target;
  }
}

TEST_F(DownloadTest, ARingOfRedirectsEnds) {
  hub_.fault = [](const ServedRequest& request) {
    return Fault{.status = 302, .headers = {{"Location", request.target}}};
  };
  expect_failure(ErrorCode::kUnavailable, "redirected more than 10 times");
}

TEST_F(DownloadTest, GoesOnWhereAnAnswerIsCutOff) {
  on_weights([](int n) { return n < 2 ? Fault{.cut_after = 100'000} : Fault(); });
  download();
  expect_whole();
  EXPECT_EQ(ranges_of_weights(), (std::vector<std::string>{"", "bytes=100000-", "bytes=200000-"}));
}

TEST_F(DownloadTest, GoesOnWhereAnEarlierRunEnded) {
  on_weights([](int n) { return Fault{.cut_after = n == 0 ? 100'000 : 0}; });
  expect_failure(ErrorCode::kUnavailable, "model.safetensors: gave up after 5 attempts");
  expect_absent();
  EXPECT_FALSE(fs::exists(repository() / "refs/main"));
  EXPECT_EQ(fs::file_size(part()), 100'000u);
  hub_.fault = nullptr;
  hub_.forget_requests();
  download();
  expect_whole();
  EXPECT_EQ(ranges_of_weights(), std::vector<std::string>{"bytes=100000-"});
}

TEST_F(DownloadTest, StartsAnewWhereRangesAreIgnored) {
  on_weights(
      [](int n) { return n == 0 ? Fault{.cut_after = 100'000} : Fault{.ignores_range = true}; });
  download();
  expect_whole();
}

TEST_F(DownloadTest, DoesNotTrustWhatWasLeft) {
  fs::create_directories(part().parent_path());
  for (const size_t size : {size_t{1000}, size_t{255'000}, size_t{10'000'000}}) {
    fs::remove(repository() / "blobs" / etag_of(weights()));
    std::ofstream(part()) << std::string(size, 'x');
    download();
    expect_whole();
  }
}

TEST_F(DownloadTest, RefusesAnotherHash) {
  on_weights([](int) { return Fault{.damages = true}; });
  expect_failure(ErrorCode::kFailedPrecondition, "expected the hash " + etag_of(weights()));
  expect_absent();
  EXPECT_EQ(ranges_of_weights().size(), 2u);
  hub_.fault = [](const ServedRequest& request) {
    return Fault{.damages = request.target.ends_with("config.json")};
  };
  fs::remove_all(settings_.cache);
  expect_failure(ErrorCode::kFailedPrecondition, "config.json: expected the hash ");
  EXPECT_FALSE(fs::exists(snapshot() / "config.json"));
}

TEST_F(DownloadTest, RefusesAnotherSize) {
  const uint64_t size = weights().full_size();
  for (const uint64_t claimed : {size - 1, size + 1, uint64_t{10}}) {
    on_weights([&](int) { return Fault{.claimed_size = claimed}; });
    expect_failure(ErrorCode::kFailedPrecondition,
                   "expected " + std::to_string(size) + " bytes, found " + std::to_string(claimed));
    expect_absent();
  }
}

TEST_F(DownloadTest, WaitsAsLongAsTheServerAsks) {
  on_weights([](int n) {
    return n == 0 ? Fault{.status = 429, .headers = {{"Retry-After", "1"}}} : Fault();
  });
  const auto begin = std::chrono::steady_clock::now();
  download();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  expect_whole();
}

TEST_F(DownloadTest, DoesNotWaitForHours) {
  on_weights([](int) { return Fault{.status = 429, .headers = {{"Retry-After", "7200"}}}; });
  expect_failure(ErrorCode::kUnavailable, "asks to wait for 7200 s");
  EXPECT_EQ(ranges_of_weights().size(), 1u);
}

TEST_F(DownloadTest, TriesAgainWhenTheServerIsUnwell) {
  on_weights([](int n) { return n < 3 ? Fault{.status = n == 0 ? 500 : 503} : Fault(); });
  download();
  expect_whole();
  hub_.fault = [](const ServedRequest&) { return Fault{.status = 503}; };
  hub_.forget_requests();
  expect_failure(ErrorCode::kUnavailable, "gave up after 5 attempts: HTTP 503 from " + hub_.url());
  EXPECT_EQ(hub_.requests().size(), 5u);
}

TEST_F(DownloadTest, SilenceCountsAsCutOff) {
  on_weights([](int n) { return n == 0 ? Fault{.cut_after = 100'000, .stalls = true} : Fault(); });
  download();
  expect_whole();
  EXPECT_EQ(ranges_of_weights().back(), "bytes=100000-");
}

TEST_F(DownloadTest, NobodyThere) {
  settings_.endpoint = "http://127.0.0.1:1";
  expect_failure(ErrorCode::kUnavailable,
                 "gave up after 2 attempts: no answer from http://127.0.0.1:1/api/models/org/tiny");
}

TEST_F(DownloadTest, TellsGatedFromMissing) {
  hub_.models[kModel].is_gated = true;
  hub_.granted_token = "granted";
  hub_.models["mirror/Tiny"] = hub_.models["other/tiny"] = hub_.models["org/tiny-chat"] = {};
  hub_.models["gated/tiny"].is_gated = true;
  const std::string says = "org/tiny: gated: expected a token that was granted access, found ";
  expect_failure(ErrorCode::kFailedPrecondition, says + "no token");
  const std::string hint = failure()->hint();
  EXPECT_NE(hint.find(hub_.url() + "/org/tiny"), std::string::npos) << hint;
  EXPECT_NE(hint.find("not gated: other/tiny"), std::string::npos) << hint;
  EXPECT_EQ(hint.find("gated/tiny"), std::string::npos) << hint;
  EXPECT_EQ(hint.find("tiny-chat"), std::string::npos) << hint;
  // The server's words repeat the token.
  settings_.token = kToken;
  settings_.token_source = "HF_TOKEN";
  expect_failure(ErrorCode::kFailedPrecondition, says + "the token of HF_TOKEN");
  EXPECT_NE(failure()->message().find("Bearer ***"), std::string::npos) << failure()->message();
  settings_.token = hub_.granted_token;
  download();
  expect_whole();
}

TEST_F(DownloadTest, SaysWhatIsMissing) {
  expect_failure(ErrorCode::kNotFound, "org/none: expected a model on " + hub_.url(), "org/none");
  expect_failure(ErrorCode::kNotFound, "org/tiny: expected revision \"v9\" on the Hub",
                 "org/tiny@v9");
  hub_.models[kModel].files.erase("model.safetensors");
  expect_failure(ErrorCode::kUnimplemented, "found \"pytorch_model.bin\"");
  hub_.models[kModel].files.erase("config.json");
  expect_failure(ErrorCode::kNotFound, "expected config.json on the Hub, found no such file");
  hub_.fault = [](const ServedRequest&) { return Fault{.status = 401}; };
  settings_.token = kToken;
  settings_.token_source = "/home/me/token";
  expect_failure(ErrorCode::kFailedPrecondition, "the token of /home/me/token is refused by");
}

TEST_F(DownloadTest, AFileThatGoesAwayMeanwhile) {
  on_weights([](int) {
    return Fault{.status = 404, .headers = {{"X-Error-Code", "EntryNotFound"}}};
  });
  expect_failure(ErrorCode::kNotFound, "org/tiny: expected model.safetensors on the Hub");
  expect_absent();
}

TEST_F(DownloadTest, LooksAtTheDiskFirst) {
  weights().etag = std::string(64, 'a');
  weights().size = uint64_t{1} << 60;
  expect_failure(ErrorCode::kResourceExhausted, "expected room for 1152921504.6 GB in ");
  EXPECT_TRUE(ranges_of_weights().empty());
}

TEST_F(DownloadTest, RefusesListingsThatLeaveTheFolder) {
  for (const char* path : {"../evil.json", "/etc/evil.json", "a/../../evil.json", ""}) {
    hub_.models[kModel].files[path] = small_file("x");
    expect_failure(ErrorCode::kInvalidArgument, "found a file named ");
    hub_.models[kModel].files.erase(path);
  }
  hub_.models[kModel].files["tokenizer.json"].etag = "../../../evil";
  expect_failure(ErrorCode::kInvalidArgument, "tokenizer.json: expected an etag and a size");
  hub_.models[kModel].commit = "../../evil";
  expect_failure(ErrorCode::kInvalidArgument, "found no commit");
}

TEST_F(DownloadTest, RefusesWhatIsNoHub) {
  hub_.fault = [](const ServedRequest&) { return Fault{.status = 200}; };
  expect_failure(ErrorCode::kInvalidArgument, "expected the Hub's description of a model from");
}

TEST_F(DownloadTest, OfflineAsksNobody) {
  settings_.offline = true;
  expect_failure(ErrorCode::kFailedPrecondition, "HF_HUB_OFFLINE is set");
  EXPECT_TRUE(hub_.requests().empty());
}

TEST_F(DownloadTest, TwoAtOnceShareTheWork) {
  on_weights([](int) { return Fault{.delay_ms = 50}; });
  std::jthread other([&] { download(); });
  download();
  other.join();
  expect_whole();
  EXPECT_EQ(ranges_of_weights().size(), 1u);
}

TEST_F(DownloadTest, ManyFilesComeAtOnce) {
  ServedModel& model = hub_.models[kModel];
  model.files.erase("model.safetensors");
  nlohmann::json map;
  for (int i = 0; i < 24; ++i) {
    const std::string name = std::to_string(i);
    map[name] = "shard-" + name + ".safetensors";
    model.files["shard-" + name + ".safetensors"] = safetensors_of({name}, 10 + i);
  }
  model.files["model.safetensors.index.json"] =
      small_file(nlohmann::json{{"weight_map", map}}.dump());
  std::atomic<int> n_now{0}, n_most{0};
  hub_.fault = [&](const ServedRequest& request) {
    if (request.target.find("shard-") == std::string::npos) return Fault();
    const int n = ++n_now;
    for (int most = n_most; n > most && !n_most.compare_exchange_weak(most, n);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    --n_now;
    return Fault();
  };
  download();
  EXPECT_GT(n_most, 3);
  EXPECT_LE(n_most, settings_.parallel_files);
}

}  // namespace
}  // namespace lockstep::test
