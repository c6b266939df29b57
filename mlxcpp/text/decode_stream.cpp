#include "mlxcpp/text/decode_stream.h"

#include "mlxcpp/text/detail/decode_stream_impl.h"

namespace mlxcpp::text {

DecodeStream::DecodeStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;
DecodeStream::~DecodeStream() = default;

std::string DecodeStream::step(TokenId id) {
  return detail::call("tokenizer", [&] { return std::string(impl_->rs->step(id)); });
}

std::string DecodeStream::finish() {
  return detail::call("tokenizer", [&] { return std::string(impl_->rs->finish()); });
}

}  // namespace mlxcpp::text
