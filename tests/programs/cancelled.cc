#include "cancelled.c"
