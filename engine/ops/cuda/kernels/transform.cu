// Images of bytes on their way into a net.

#include "common.cuh"

// (image - mean) * scale of `count` elements of out: (N, channels, out_h, out_w).
// pixels: (M, channels, in_h, in_w); cropped: whether they are what is left of larger images.
// choices: (N, 4): the image's number among the M, its top and left in the image before that was
// cropped, and whether it is mirrored.
// mean: of images before they are cropped; mean_channel, mean_row, mean_column: elements from one
// to the next, 0 where there is one for all.
extern "C" __global__ void transform(size_t count, unsigned channels, unsigned out_h,
                                     unsigned out_w, unsigned in_h, unsigned in_w, bool cropped,
                                     size_t mean_channel, size_t mean_row, size_t mean_column,
                                     T scale, const unsigned char* pixels, const int* choices,
                                     const T* mean, T* out) {
  const unsigned plane = out_h * out_w, whole = channels * plane;
  EACH(i, count) {
    const size_t image = i / whole;
    const unsigned within = (unsigned)(i - image * whole);
    const unsigned channel = within / plane, place = within - channel * plane;
    const unsigned row = place / out_w, column = place - row * out_w;
    const int* chosen = choices + 4 * image;
    const size_t y = chosen[1] + row;
    const size_t x = chosen[2] + (chosen[3] ? out_w - 1 - column : column);
    const size_t in_y = cropped ? y - chosen[1] : y, in_x = cropped ? x - chosen[2] : x;
    const T pixel = pixels[((chosen[0] * (size_t)channels + channel) * in_h + in_y) * in_w + in_x];
    out[i] = (pixel - mean[channel * mean_channel + y * mean_row + x * mean_column]) * scale;
  }
}
