#include "mlxcpp/ops/cpu/linear.h"

#include "mlxcpp/ops/cpu/detail/ahead.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/cpu/pool.h"
#include "mlxcpp/ops/cpu/quantised.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

namespace mlxcpp::cpu {
namespace {

enum class Path {
  dots,         // 16-bit activations, integer codes: exact
  dense_dots,   // float32, row by row
  panels,       // float32 panels
  half_panels,  // bfloat16 operands
  int_panels    // as dots
};
constexpr Path kPanels[] = {Path::panels, Path::half_panels, Path::int_panels};

/// With more rows, reading weights is the least of the work.
constexpr int kMostRowsAhead = 16;

bool few_rows(Path path) { return path == Path::dots || path == Path::dense_dots; }

const GemmKernels* panels_of(const Kernels& k, Path path) {
  switch (path) {
    case Path::panels: return &k.gemm_f32;
    case Path::half_panels: return k.gemm_half;
    case Path::int_panels: return k.gemm_int;
    default: return nullptr;
  }
}

/// A tier with tiles has its bfloat16 panels used; others where that was measured to be faster.
const GemmKernels* half_kernels(const Machine& m) {
  bool tiles = m.kernels->probes.tile_half.run != nullptr;
  return tiles || m.half_dots_pay ? m.kernels->gemm_half : nullptr;
}

Path path_for(const Machine& m, Coding coding, int rows) {
  bool is_dense = dense(coding);
  Path few = is_dense ? Path::dense_dots : Path::dots;
  if (m.deterministic) return few;
  auto pays = [&](const GemmKernels& g) {
    return rows >= (is_dense ? g.least_dense : g.least_rows);
  };
  if (auto* half = half_kernels(m); half && coding != Coding::f32 && pays(*half))
    return Path::half_panels;
  if (auto* ints = m.kernels->gemm_int; ints && !is_dense && pays(*ints)) return Path::int_panels;
  return pays(m.kernels->gemm_f32) ? Path::panels : few;
}

/// Rows that are used by one or more products, in the forms that those want.
struct Input {
  InputRows x;
  bool quantised = false;
  QuantisedRows q;
  struct {
    bool wanted = false;
    void* rows = nullptr;
  } packed[std::size(kPanels)];
  int first_task = 0;
};

/// One product and its share of the chunks.
struct Group {
  int input;
  Matrix w;
  OutputRows y;
  Path path;
  int outputs = 0;  // in a chunk
  int first_chunk = 0;
};

long round_up(long n, long step) { return (n + step - 1) / step * step; }
int blocks_of(int rows, const GemmKernels& g) { return (rows + g.block_rows - 1) / g.block_rows; }

/// All products of one call: what is prepared, and what is computed from it.
class Job {
 public:
  explicit Job(const Machine& machine) : m_(machine) {}

  std::vector<Input> inputs;
  std::vector<Group> groups;

  void add_input(const InputRows& x) {
    Input in;
    in.x = x;
    inputs.push_back(in);
  }
  /// A product with the input that was added last.
  void add(const Matrix& w, const OutputRows& y) {
    Input& in = inputs.back();
    Group g{int(inputs.size()) - 1, w, y, path_for(m_, w.coding, in.x.rows)};
    in.quantised |= g.path == Path::dots;
    for (std::size_t i = 0; i < std::size(kPanels); ++i)
      in.packed[i].wanted |= g.path == kPanels[i];
    groups.push_back(g);
  }
  void run() {
    prepare();
    compute();
  }

 private:
  void prepare();
  void compute();
  std::size_t layout(char* base);
  void prepare_task(int task);
  const Ahead* next_weights() const;
  void chunk(const Group& g, int from, int to);
  void dots_chunk(const Group& g, int from, int to);

  const GemmKernels& gemm(std::size_t i) const { return *panels_of(*m_.kernels, kPanels[i]); }
  int tasks_of(const Input& in) const {
    int tasks = in.quantised ? in.x.rows : 0;
    for (std::size_t i = 0; i < std::size(kPanels); ++i)
      if (in.packed[i].wanted) tasks += blocks_of(in.x.rows, gemm(i));
    return tasks;
  }

  const Machine& m_;
};

/// Gives every form its place from `base` on; returns the bytes.
std::size_t Job::layout(char* base) {
  std::size_t at = 0;
  auto take = [&](std::size_t bytes) {
    char* p = base + at;
    at += std::size_t(round_up(long(bytes), 64));
    return static_cast<void*>(p);
  };
  for (Input& in : inputs) {
    if (in.quantised) {
      void* memory = take(quantised_bytes(in.x.rows, in.x.columns));
      if (base) in.q = quantised_rows(memory, in.x.rows, in.x.columns);
    }
    for (std::size_t i = 0; i < std::size(kPanels); ++i)
      if (in.packed[i].wanted)
        in.packed[i].rows = take(gemm(i).packed_bytes(in.x.rows, in.x.columns));
  }
  return at;
}

void Job::prepare() {
  std::size_t bytes = layout(nullptr);
  if (bytes == 0) return;
  layout(static_cast<char*>(thread_scratch(bytes, 3)));
  int tasks = 0;
  for (Input& in : inputs) {
    in.first_task = tasks;
    tasks += tasks_of(in);
  }
  // A row is quantised in less time than another thread takes to come.
  if (tasks <= 2)
    for (int i = 0; i < tasks; ++i) prepare_task(i);
  else
    Pool::instance().run(tasks, [&](int i) { prepare_task(i); });
}

void Job::prepare_task(int task) {
  auto after = std::upper_bound(
      inputs.begin(), inputs.end(), task, [](int t, const Input& in) { return t < in.first_task; });
  const Input& in = *(after - 1);
  int i = task - in.first_task;
  if (in.quantised) {
    if (i < in.x.rows) {
      const float* x = in.x.data + (in.x.index ? in.x.index[i] : i) * in.x.stride;
      m_.kernels->matrix.quantise(x, i, in.q);
      return;
    }
    i -= in.x.rows;
  }
  for (std::size_t p = 0; p < std::size(kPanels); ++p) {
    if (!in.packed[p].wanted) continue;
    int blocks = blocks_of(in.x.rows, gemm(p));
    if (i < blocks) return gemm(p).pack(in.x, i, in.packed[p].rows);
    i -= blocks;
  }
}

/// Outputs of a chunk.  Few rows: so many bytes of weights that taking a chunk costs nothing
/// beside, and still a few chunks for each thread.  Panels: many outputs, so that packed
/// activations are not read too often from beyond a thread's caches, and still about four chunks
/// for each thread, the same number for all.  An output is the same in whichever chunk it is.
int chunk_outputs(const Group& g, int rows, long all_outputs, long all_bytes, int threads) {
  long outputs;
  if (!few_rows(g.path)) {
    long most = rows <= 64 ? 64 : g.path == Path::half_panels ? 512 : 256;
    long wanted = std::clamp(all_outputs / (4 * threads), 64l, most);
    long chunks = round_up(std::max(1l, g.w.rows / wanted), threads);
    outputs = round_up((g.w.rows + chunks - 1) / chunks, 32);
  } else {
    long bytes = std::clamp(all_bytes / 16, 16l << 10, 64l << 10);
    outputs = std::max(1l, bytes / std::max(1l, g.w.row_bytes + 2 * g.w.scale_row_bytes));
    outputs = round_up(outputs, 4);
  }
  return int(std::min(outputs, long(g.w.rows)));
}

void Job::compute() {
  long all_outputs = 0, all_bytes = 0;
  for (const Group& g : groups) {
    all_outputs += g.w.rows;
    all_bytes += g.w.rows * (g.w.row_bytes + 2 * g.w.scale_row_bytes);
  }
  int chunks = 0;
  for (Group& g : groups) {
    g.first_chunk = chunks;
    g.outputs =
        chunk_outputs(g, inputs[std::size_t(g.input)].x.rows, all_outputs, all_bytes, m_.threads);
    if (g.outputs > 0) chunks += (g.w.rows + g.outputs - 1) / g.outputs;
  }
  auto body = [&](int i) {
    auto after = std::upper_bound(
        groups.begin(), groups.end(), i, [](int c, const Group& g) { return c < g.first_chunk; });
    const Group& g = *(after - 1);
    int from = (i - g.first_chunk) * g.outputs;
    chunk(g, from, std::min(g.w.rows, from + g.outputs));
  };
  Pool::instance().run(chunks, body, next_weights());
}

/// What threads may fetch meanwhile; remembers that these weights came now.  Experts are chosen
/// anew each time.
const Ahead* Job::next_weights() const {
  thread_local detail::Order order;
  const InputRows& x = inputs[0].x;
  if (inputs.size() != 1 || x.index || x.rows > kMostRowsAhead) return nullptr;
  Ahead now;
  for (const Group& g : groups) {
    if (now.count == Ahead::kMost) break;
    now.pieces[now.count++] = {static_cast<const char*>(g.w.data), g.w.rows * g.w.row_bytes};
  }
  return order.after(now);
}

void Job::chunk(const Group& g, int from, int to) {
  const Input& in = inputs[std::size_t(g.input)];
  if (few_rows(g.path)) return dots_chunk(g, from, to);
  std::size_t p = std::size_t(std::find(std::begin(kPanels), std::end(kPanels), g.path) - kPanels);
  void* scratch = thread_scratch(gemm(p).scratch_bytes(in.x.rows, g.w.columns, to - from));
  gemm(p).panel(g.w, in.packed[p].rows, in.x.rows, from, to, scratch, g.y);
}

void finish_row(const float* sums, const OutputRows& y, int m, int from, int count) {
  float* out = y.data + (y.index ? y.index[m] : m) * y.stride + from;
  const float* bias = y.bias ? y.bias + from : nullptr;
  const float* residual = y.residual ? y.residual + m * y.residual_stride + from : nullptr;
  if (bias && residual)
    for (int n = 0; n < count; ++n) out[n] = sums[n] + bias[n] + residual[n];
  else if (bias)
    for (int n = 0; n < count; ++n) out[n] = sums[n] + bias[n];
  else if (residual)
    for (int n = 0; n < count; ++n) out[n] = sums[n] + residual[n];
  else
    std::memcpy(out, sums, std::size_t(count) * sizeof(float));
}

void Job::dots_chunk(const Group& g, int from, int to) {
  const Input& in = inputs[std::size_t(g.input)];
  const MatrixKernels& k = m_.kernels->matrix;
  int count = to - from;
  bool direct = !g.y.bias && !g.y.residual && !g.y.index;
  float* sums = static_cast<float*>(
      direct ? nullptr : thread_scratch(sizeof(float) * kMaxRows * std::size_t(count)));
  for (int m = 0; m < in.x.rows; m += kMaxRows) {
    int rows = std::min(kMaxRows, in.x.rows - m);
    float* out = direct ? g.y.data + m * g.y.stride : sums - from;
    long stride = direct ? g.y.stride : count;
    if (g.path == Path::dots) {
      k.dots(g.w, rows_from(in.q, m, rows), from, to, out, stride);
    } else if (!in.x.index) {
      k.dense_dots(g.w, in.x.data + m * in.x.stride, in.x.stride, rows, from, to, out, stride);
    } else {
      for (int r = 0; r < rows; ++r)
        k.dense_dots(g.w,
                     in.x.data + in.x.index[m + r] * in.x.stride,
                     0,
                     1,
                     from,
                     to,
                     out + r * stride,
                     stride);
    }
    if (!direct)
      for (int r = 0; r < rows; ++r) finish_row(sums + r * count, g.y, m + r, from, count);
  }
}

}  // namespace

void linear(const float* x, long x_stride, int rows, std::span<const Product> products) {
  if (rows <= 0 || products.empty()) return;
  Job job(machine());
  job.add_input({x, x_stride, nullptr, rows, products[0].w.columns});
  for (const Product& p : products)
    job.add(p.w, {p.y, p.y_stride, nullptr, p.bias, p.residual, p.residual_stride});
  job.run();
}

void gather_linear(const float* x,
                   long x_stride,
                   int rows,
                   int repeat,
                   const unsigned* which,
                   const ExpertStack& stack,
                   float* y,
                   long y_stride) {
  if (rows <= 0) return;
  // Rows of one expert side by side: a counting sort.
  std::vector<int> ends(std::size_t(stack.experts) + 1), source(static_cast<std::size_t>(rows)),
      target(static_cast<std::size_t>(rows));
  for (int m = 0; m < rows; ++m) ++ends[which[m] + 1];
  for (int e = 0; e < stack.experts; ++e) ends[std::size_t(e) + 1] += ends[std::size_t(e)];
  for (int m = 0; m < rows; ++m) {
    int at = ends[which[m]]++;
    source[std::size_t(at)] = m / repeat;
    target[std::size_t(at)] = m;
  }
  Job job(machine());
  int first = 0;
  for (int e = 0; e < stack.experts; ++e) {
    int last = ends[std::size_t(e)];
    if (last == first) continue;
    Matrix w = stack.w;
    w.data = static_cast<const char*>(w.data) + e * stack.stride;
    if (w.scales) w.scales = static_cast<const char*>(w.scales) + e * stack.scale_stride;
    if (w.zeros) w.zeros = static_cast<const char*>(w.zeros) + e * stack.scale_stride;
    if (stack.factors) w.factor *= stack.factors[e];
    const float* bias = stack.bias ? stack.bias + long(e) * w.rows : nullptr;
    job.add_input({x, x_stride, source.data() + first, last - first, w.columns});
    job.add(w, {y, y_stride, target.data() + first, bias});
    first = last;
  }
  job.run();
}

void rows_of(const Matrix& w, const int* rows, int count, float* out) {
  const MatrixKernels& k = machine().kernels->matrix;
  auto one = [&](int i) { k.unpack(w, rows[i], 0, w.columns, out + long(i) * w.columns); };
  if (count <= 4)
    for (int i = 0; i < count; ++i) one(i);
  else
    Pool::instance().run(count, one);
}

}  // namespace mlxcpp::cpu
