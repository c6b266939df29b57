// A folder that appears as a whole or not at all.
#pragma once

#include <filesystem>

namespace mlxcpp::io {

/// Files are written into a folder beside the target, which takes its name on commit().  Dropped
/// without that, it goes with all that is in it; what a killed process left goes when the next one
/// writes to the same target.
class StagedFolder {
 public:
  /// Throws IoError when there is something at `target` already (but an empty folder), or nothing
  /// can be written beside it.
  explicit StagedFolder(std::filesystem::path target);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return staging_; }  ///< where to write
  /// Throws IoError; for example when another process took the name meanwhile.
  void commit();

 private:
  std::filesystem::path target_, staging_;
  int lock_ = -1;  // held while the folder is written: it is not a killed process's
};

}  // namespace mlxcpp::io
