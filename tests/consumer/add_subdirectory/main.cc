// A stranger's program that needs only the lowest floors.
#include "weir/net/buffer/buffer.h"

int main() {
  weir::Buffer buffer;
  buffer.append("weir");
  return buffer.view() == "weir" ? 0 : 1;
}
