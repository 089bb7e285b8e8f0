#include "base/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr int kPollMilliseconds = 50;
constexpr std::chrono::seconds kGrace{5};
constexpr std::array kForwarded = {SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t signals_seen = 0;

void count_signal(int) { signals_seen = signals_seen + 1; }

// While one lives, the signals that end a program are counted instead.
class SignalScope {
 public:
  SignalScope() {
    signals_seen = 0;
    struct sigaction action {};
    action.sa_handler = count_signal;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < kForwarded.size(); ++i) {
      sigaction(kForwarded[i], nullptr, &before_[i]);
      // What the caller ignores (nohup) stays ignored.
      if (before_[i].sa_handler != SIG_IGN) sigaction(kForwarded[i], &action, nullptr);
    }
  }
  ~SignalScope() {
    for (size_t i = 0; i < kForwarded.size(); ++i) sigaction(kForwarded[i], &before_[i], nullptr);
  }
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;

 private:
  std::array<struct sigaction, kForwarded.size()> before_{};
};

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw Error(ErrorCode::kResourceExhausted,
                  std::string("cannot make a pipe: ") + std::strerror(errno));
    }
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    close_end(read);
    close_end(write);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

// After fork, before exec: nothing here may allocate.
[[noreturn]] void become(char* const* arguments, ChildOutput output, int lines, int failure,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  dup2(lines, STDERR_FILENO);
  if (output == ChildOutput::kLines) dup2(lines, STDOUT_FILENO);
  for (const int signal : kForwarded) std::signal(signal, SIG_DFL);
  execv(arguments[0], arguments);
  const int error = errno;
  if (::write(failure, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

// Splits what arrives into lines.
class Lines {
 public:
  explicit Lines(const std::function<void(std::string_view)>& on_line) : on_line_(on_line) {}

  // Reads what is there; false at the end.
  bool read(int fd) {
    std::array<char, 4096> bytes{};
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    if (n == 0) return false;
    pending_.append(bytes.data(), static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end = 0; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      on_line_(std::string_view(pending_).substr(begin, end - begin));
    }
    pending_.erase(0, begin);
    return true;
  }

  void finish() {
    if (!pending_.empty()) on_line_(pending_);
    pending_.clear();
  }

 private:
  const std::function<void(std::string_view)>& on_line_;
  std::string pending_;
};

bool readable(int fd, int milliseconds) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) > 0;
}

// Passes signals on, and loses patience.
class Cancelling {
 public:
  explicit Cancelling(pid_t child) : child_(child) {}

  void pass_on() {
    const int seen = signals_seen;
    if (seen == 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (passed_ == 0) {
      kill(-child_, SIGINT);
      deadline_ = now + kGrace;
    } else if (seen > passed_ || now >= deadline_) {
      kill(-child_, SIGKILL);
    }
    passed_ = seen;
  }
  bool asked() const noexcept { return passed_ > 0; }

 private:
  pid_t child_;
  int passed_ = 0;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

ChildResult run_child(const std::vector<std::string>& arguments, ChildOutput output,
                      const std::function<void(std::string_view)>& on_line) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Pipe lines_pipe, failure;
  const SignalScope signals;
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    throw Error(ErrorCode::kResourceExhausted,
                "cannot start " + arguments[0] + ": " + std::strerror(errno));
  }
  if (child == 0) become(argv.data(), output, lines_pipe.write, failure.write, parent);
  setpgid(child, child);  // here as well: whichever of the two comes first
  Pipe::close_end(lines_pipe.write);
  Pipe::close_end(failure.write);

  Lines lines(on_line);
  Cancelling cancelling(child);
  // The child is not left behind when on_line throws.
  struct Reaper {
    pid_t child;
    ~Reaper() {
      if (child <= 0) return;
      kill(-child, SIGKILL);
      while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  } reaper{child};
  int status = 0;
  bool open = true;
  while (true) {
    if (open && readable(lines_pipe.read, kPollMilliseconds)) open = lines.read(lines_pipe.read);
    if (!open) ::poll(nullptr, 0, kPollMilliseconds);
    cancelling.pass_on();
    if (waitpid(child, &status, WNOHANG) == child) break;
  }
  reaper.child = 0;
  while (open && readable(lines_pipe.read, 0)) open = lines.read(lines_pipe.read);
  lines.finish();
  int error = 0;
  if (::read(failure.read, &error, sizeof error) == static_cast<ssize_t>(sizeof error)) {
    throw Error(ErrorCode::kNotFound, "cannot run " + arguments[0] + ": " + std::strerror(error));
  }
  ChildResult result;
  result.pid = child;
  result.cancelled = cancelling.asked();
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

std::optional<std::string> find_program(const std::string& name) {
  const auto runs = [](const std::string& file) {
    return ::access(file.c_str(), X_OK) == 0 && ::access((file + "/.").c_str(), F_OK) != 0;
  };
  if (name.find('/') != std::string::npos) {
    return runs(name) ? std::optional(name) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  const std::string folders = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    std::string file = folders.substr(begin, end - begin);
    // An empty entry means the current folder to a shell; programs are not taken from there.
    if (!file.empty()) {
      file.append("/").append(name);
      if (runs(file)) return file;
    }
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace lockstep
