#include "preload/journal.h"
