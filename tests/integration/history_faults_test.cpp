// To come.
#include <gtest/gtest.h>
