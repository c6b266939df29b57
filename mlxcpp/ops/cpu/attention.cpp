#include "mlxcpp/ops/cpu/attention.h"

#include "mlxcpp/ops/cpu/detail/split.h"
#include "mlxcpp/ops/cpu/features.h"

namespace mlxcpp::cpu {

void rotate(const Rotation& r) {
  auto& k = machine().kernels->elementwise;
  int pairs = r.dims / 2;
  double token = 50 + double(pairs) * 2 + double(r.heads) * (5 + r.size * 0.15);
  detail::split(long(r.rows) * r.tokens, token, [&](long from, long to) {
    auto* places = static_cast<float*>(thread_scratch(3 * sizeof(float) * pairs));
    float *cosines = places + pairs, *sines = cosines + pairs;
    long stream = long(r.rows) * r.tokens;
    for (long i = from; i < to; ++i) {
      long row = i / r.tokens, t = i % r.tokens;
      for (int p = 0; p < pairs; ++p)
        places[p] = float(r.positions[i + (r.axis ? r.axis[p] * stream : 0)]);
      k.turns(r.inverse + row * r.inverse_row, places, r.magnitude, pairs, cosines, sines);
      for (int h = 0; h < r.heads; ++h)
        k.turn(r.x.data + row * r.x.row + h * r.x.head + t * r.x.token,
               cosines,
               sines,
               pairs,
               r.size,
               r.traditional,
               r.out + row * r.out_row + h * r.out_head + t * r.out_token);
    }
  });
}

}  // namespace mlxcpp::cpu
