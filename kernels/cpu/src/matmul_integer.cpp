// Matrix products with integers, by tiles or dot products.
#include "matmul_integer.h"

#include "matmul_panels.h"

#if defined(OCTAVO_TILES)
#include "matmul_amx.h"
#endif

namespace octavo {

void multiply_int8(const Rows& a, int rows, const Panels& w, float* tiles) {
#if defined(OCTAVO_TILES)
  if (use_tiles(kInt8, rows)) return multiply_tiles_int8(a, rows, w, tiles);
#endif
  multiply_panels<Int8Panel, kMaxQ8Rows>(a, rows, w, tiles);
}

template <class F>
void multiply_grouped(const Rows& a, int rows, const Panels& w, float* tiles) {
#if defined(OCTAVO_TILES)
  if (use_tiles(F::kFormat, rows)) return multiply_tiles_grouped<F>(a, rows, w, tiles);
#endif
  multiply_panels<GroupedPanel<F>, kMaxQ8Rows>(a, rows, w, tiles);
}

template void multiply_grouped<Int4By64>(const Rows&, int, const Panels&, float*);
template void multiply_grouped<Int4By32>(const Rows&, int, const Panels&, float*);
template void multiply_grouped<Int8By32>(const Rows&, int, const Panels&, float*);
template void multiply_grouped<Int8By16>(const Rows&, int, const Panels&, float*);

}  // namespace octavo
