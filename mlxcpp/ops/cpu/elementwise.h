// Small operations over rows of float32, over all threads where that pays.
#pragma once

namespace mlxcpp::cpu {

/// y = x / rms(x) * weight; with `add`, x + add is normalised and stored in `sum` too.
/// x: (rows, size) contiguous; weight null: none.
void rms_norm(const float* x,
              const float* weight,
              float eps,
              int rows,
              int size,
              float* y,
              const float* add = nullptr,
              float* sum = nullptr);
void layer_norm(const float* x,
                const float* weight,
                const float* bias,
                float eps,
                int rows,
                int size,
                float* y);

enum class Act : unsigned char { silu, gelu, gelu_tanh, relu2 };
struct Gate {
  Act act = Act::silu;
  float limit = 0, slope = 1, shift = 0;  // as ops::Glu
};
/// y = act(gate) * up, rows of their strides.
void gated(const float* gate,
           long gate_stride,
           const float* up,
           long up_stride,
           const Gate& how,
           int rows,
           int size,
           float* y,
           long y_stride);
void activate(const float* x, Act act, long size, float* y);

/// y = cap * tanh(x / cap).
void softcap(const float* x, float cap, long size, float* y);

/// x to float16, to nearest; too large: infinite.
void to_half(const float* x, long size, unsigned short* y);

/// Along rows of (rows, size); y may be x.
void softmax(const float* x, int rows, int size, float* y);
void log_softmax(const float* x, int rows, int size, float* y);
/// log(sum(e^x)).
void logsumexp(const float* x, int rows, int size, float* y);
/// Where the largest number first stands; what is not a number is passed over.
void argmax(const float* x, int rows, int size, unsigned* index);
/// Per row the k-th largest number; k in [1, size].
void kth_largest(const float* x, int rows, int size, int k, float* value);
/// Per row the smallest number of the fewest largest whose softmax reaches `p`.
void nucleus(const float* x, int rows, int size, float p, float* value);
/// The k largest of each row; minus infinity for the others.  Of equal ones the first are kept.
void keep_largest(const float* x, int rows, int size, int k, float* y);
/// Those of each row that are no less than its nucleus(); minus infinity for the others.
void keep_nucleus(const float* x, int rows, int size, float p, float* y);

}  // namespace mlxcpp::cpu
