// Latencies as a whole: for the eye, and for the plotters of HdrHistogram.
#pragma once

#include <string>

#include "weir/base/histogram.h"
#include "weir/base/result.h"

namespace weir::load {

// Bars, on stdout.
void print_histogram(const Histogram& histogram);

// The percentile distribution in HdrHistogram's text form, in milliseconds.
Result<void> write_hdr(const Histogram& histogram, const std::string& path);

// Writes the file, in place of what it held.
Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace weir::load
