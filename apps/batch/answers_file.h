// The file of answers: it grows line by line, and is gone on with where it ends.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::apps {

/// A line that was answered before.
struct Answered {
  std::size_t number;
  std::string id;  // as JSON; empty: none
};

class AnswersFile {
 public:
  /// Opens or makes it, for this process alone.  A last line without an end is what an interrupted
  /// run left: it is cut off.  Throws IoError when the file can not be written, InputError when it
  /// holds anything but answers; it is then as it was.
  explicit AnswersFile(std::filesystem::path path);
  ~AnswersFile();
  AnswersFile(const AnswersFile&) = delete;
  AnswersFile& operator=(const AnswersFile&) = delete;

  const std::vector<Answered>& answered() const { return answered_; }
  /// Adds whole lines.  Throws IoError, for example on a full disk; half a line may then be there,
  /// which the next run cuts off.
  void add(std::string_view lines);
  void sync();  ///< to the disk

 private:
  void read();
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<Answered> answered_;
};

}  // namespace mlxcpp::apps
