// The distribution of latencies: as a bar chart, and as a file for the plotters of HdrHistogram.
#pragma once

#include <string>

#include "weir/base/histogram.h"
#include "weir/base/result.h"

namespace weir::load {

// Prints bars to stdout.
void print_histogram(const Histogram& histogram);

// Writes the percentile distribution in the text format of HdrHistogram, in milliseconds.
Result<void> write_hdr(const Histogram& histogram, const std::string& path);

// Writes `text` to the file and replaces its contents.
Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace weir::load
