#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <utility>

#include "base/testing/temp_folder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::read_bytes;
using test::TempFolder;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string message_of(const std::optional<Error>& error) {
  return error.has_value() ? error->message() : "(no error)";
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TempFolder folder;
  const fs::path path = folder.write("a", "hello");
  const MappedFile file = MappedFile::open(path);
  EXPECT_EQ(text_of(file), "hello");
  EXPECT_EQ(file.path(), path);
}

TEST(MappedFile, EmptyFileHasNoBytes) {
  const TempFolder folder;
  EXPECT_TRUE(MappedFile::open(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, MovesKeepTheBytes) {
  const TempFolder folder;
  MappedFile a = MappedFile::open(folder.write("a", "first"));
  MappedFile b = std::move(a);
  EXPECT_EQ(text_of(b), "first");
  MappedFile c = MappedFile::open(folder.write("c", "second"));
  c = std::move(b);
  EXPECT_EQ(text_of(c), "first");
}

TEST(MappedFile, FollowsLinks) {
  const TempFolder folder;
  folder.write("blob", "data");
  fs::create_symlink("blob", folder / "link");
  EXPECT_EQ(text_of(MappedFile::open(folder / "link")), "data");
}

TEST(MappedFile, NamesWhatIsNotThere) {
  const TempFolder folder;
  fs::create_symlink("gone", folder / "dangling");
  fs::create_directory(folder / "directory");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  const struct {
    std::string name;
    ErrorCode code;
    std::string says;
  } cases[] = {
      {"missing", ErrorCode::kNotFound, "No such file"},
      {"missing/below", ErrorCode::kNotFound, "No such file"},
      {"dangling", ErrorCode::kNotFound, "a link to gone"},
      {"directory", ErrorCode::kNotFound, "expected a file, found a directory"},
      {"fifo", ErrorCode::kUnavailable, "expected a regular file"},
  };
  for (const auto& c : cases) {
    const auto error = error_of([&] { MappedFile::open(folder / c.name); });
    ASSERT_TRUE(error.has_value()) << c.name;
    EXPECT_EQ(error->code(), c.code) << c.name;
    EXPECT_NE(error->message().find((folder / c.name).string()), std::string::npos);
    EXPECT_NE(error->message().find(c.says), std::string::npos) << error->message();
  }
}

TEST(AtomicFile, AppearsWholeOnCommit) {
  const TempFolder folder;
  const fs::path path = folder.write("out", "old");
  {
    AtomicFile file(path);
    file.write("new ");
    file.write("text");
    EXPECT_EQ(read_bytes(path), "old");
    file.commit();
    EXPECT_EQ(read_bytes(path), "new text");
  }
  EXPECT_EQ(read_bytes(path), "new text");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TempFolder folder;
  const fs::path path = folder.write("out", "old");
  { AtomicFile(path).write("new"); }
  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, WritesAnywhereWithoutMovingTheAppendPosition) {
  const TempFolder folder;
  AtomicFile file(folder / "out");
  file.write("ab");
  file.write_at(6, std::as_bytes(std::span("gh", 2)));
  file.write("cd");
  file.write_at(4, std::as_bytes(std::span("ef", 2)));
  file.commit();
  EXPECT_EQ(read_bytes(folder / "out"), "abcdefgh");
}

TEST(AtomicFile, TwoWritersOfOnePathDoNotMix) {
  const TempFolder folder;
  AtomicFile first(folder / "out"), second(folder / "out");
  first.write("first");
  second.write("second");
  first.commit();
  second.commit();
  EXPECT_EQ(read_bytes(folder / "out"), "second");
}

TEST(AtomicFile, ObeysTheUmask) {
  const TempFolder folder;
  const mode_t before = ::umask(022);
  AtomicFile file(folder / "out");
  file.commit();
  ::umask(before);
  EXPECT_EQ(fs::status(folder / "out").permissions(), fs::perms(0644));
}

TEST(AtomicFile, RefusesWhatCannotBe) {
  const TempFolder folder;
  const auto missing = error_of([&] { AtomicFile file(folder / "no/such/out"); });
  ASSERT_TRUE(missing.has_value());
  EXPECT_EQ(missing->code(), ErrorCode::kNotFound);
  EXPECT_NE(missing->message().find("no/such/out"), std::string::npos);

  AtomicFile file(folder / "out");
  file.commit();
  EXPECT_EQ(error_of([&] { file.write("x"); })->code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(error_of([&] { file.commit(); })->code(), ErrorCode::kFailedPrecondition);
}

TEST(AtomicFile, SaysThatTheDiskIsFull) {
  // /dev/full cannot be the target of a sibling, so the limit on file size stands in for the disk.
  const TempFolder folder;
  AtomicFile file(folder / "out");
  const auto error =
      error_of([&] { file.write_at(uint64_t{1} << 62, std::as_bytes(std::span("x", 1))); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kResourceExhausted) << error->message();
  EXPECT_FALSE(error->hint().empty());
}

TEST(ReadTextFile, ReadsUpToItsLimit) {
  const TempFolder folder;
  const fs::path path = folder.write("text", "12345");
  EXPECT_EQ(read_text_file(path), "12345");
  EXPECT_EQ(read_text_file(path, 5), "12345");
  const auto error = error_of([&] { read_text_file(path, 4); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kOutOfRange);
  EXPECT_NE(error->message().find("expected at most 4 bytes, found 5"), std::string::npos)
      << message_of(error);
  EXPECT_EQ(read_text_file(folder.write("empty", "")), "");
}

}  // namespace
}  // namespace lockstep
