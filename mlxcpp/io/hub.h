// Where models lie on this machine.  Nothing here uses the network.
// Source: huggingface_hub constants.py and its cache layout.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace mlxcpp::io {

/// "org/name" or "name", as Hugging Face allows it: letters, digits, '-', '_', '.', at most 96 in
/// all, no "..", no "--", no '-' or '.' at either end.
bool is_repo_id(std::string_view text);

/// $HF_HUB_CACHE, else $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else
/// $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.  An empty variable is not set.
std::filesystem::path hub_cache_directory();

/// The snapshot folder of a model that was downloaded by Hugging Face's tools; `revision` is a
/// branch, a tag or a commit.  Nothing when it is not there.
/// Throws InputError when `repo_id` or `revision` is not of its form.
std::optional<std::filesystem::path> find_in_hub_cache(std::string_view repo_id,
                                                       std::string_view revision = "main");

/// Our own: $MLXCPP_HOME, else $XDG_CACHE_HOME/mlxcpp, else ~/.cache/mlxcpp.  Not created here.
std::filesystem::path cache_directory();

/// cache_directory()/models/<org>--<name>.  Nothing when it is not there.
std::optional<std::filesystem::path> find_in_own_cache(std::string_view repo_id);

/// The model that is used when none is named.  The set-up puts it there.
std::filesystem::path default_model_path();

}  // namespace mlxcpp::io
