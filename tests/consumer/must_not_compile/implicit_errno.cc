// An int is not an errno by itself.
// refused: conversion|could not convert|no viable
#include "weir/base/result.h"

#ifdef WRONG
weir::Errno use() { return 5; }
#else
weir::Errno use() { return weir::Errno(5); }
#endif
