#include "rivals/parts_table.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace parts {
namespace {

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

}  // namespace

double median(Samples samples) {
  std::sort(samples.begin(), samples.end());
  const std::size_t middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

std::string grouped(std::size_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

void add_figures(std::vector<std::string>& row, const Samples& samples, const Samples& base) {
  const auto [least, most] = std::minmax_element(samples.begin(), samples.end());
  Samples ratios;
  for (std::size_t i = 0; i < samples.size(); ++i) ratios.push_back(samples[i] / base[i]);
  row.push_back(fixed(median(samples), 1));
  row.push_back(fixed(*least, 1) + " - " + fixed(*most, 1));
  row.push_back(fixed(median(std::move(ratios)), 2) + "x");
}

Table::Table(std::vector<std::string> heads, std::vector<std::size_t> left)
    : left_(std::move(left)) {
  rows_.push_back(std::move(heads));
}

void Table::add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

void Table::print() const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const std::vector<std::string>& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      const bool left = std::find(left_.begin(), left_.end(), i) != left_.end();
      line += (i == 0 ? "" : "  ") + (left ? row[i] + padding : padding + row[i]);
    }
    std::printf("%s\n", line.c_str());
  }
}

}  // namespace parts
