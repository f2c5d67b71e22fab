// The figures of several rounds, and a text table of them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace parts {

using Samples = std::vector<double>;  // one for each round

double median(Samples samples);
std::string grouped(std::size_t number);  // 100,000

// Appends the median, the range, and the median of the ratios to `base`, round by round.
void add_figures(std::vector<std::string>& row, const Samples& samples, const Samples& base);

class Table {
 public:
  // `left`: the columns that are aligned to the left; the others are to the right.
  Table(std::vector<std::string> heads, std::vector<std::size_t> left);
  void add(std::vector<std::string> row);  // with one text for each head
  void add_gap() { rows_.emplace_back(); }
  void print() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the heads first; an empty one is a gap
  std::vector<std::size_t> left_;
};

}  // namespace parts
