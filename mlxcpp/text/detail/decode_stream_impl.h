#pragma once

#include "mlxcpp/text/decode_stream.h"
#include "mlxcpp/text/detail/bridge.h"

#include <utility>

namespace mlxcpp::text {

struct DecodeStream::Impl {
  rust::Box<bridge::RsDecodeStream> rs;
};

}  // namespace mlxcpp::text
