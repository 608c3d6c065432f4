// What leaks.py works with: blocks of C memory in capsules, which free them when they go.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "site.h"

#define UNUSED __attribute__((unused))

struct Block {
  int64_t site, size;
};

static void give_back(PyObject* capsule) {
  struct Block* block = PyCapsule_GetPointer(capsule, NULL);
  went((int)block->site, block->size);
  PyMem_RawFree(block);
}

static PyObject* in_capsule(int site, struct Block* block, size_t size) {
  *block = (struct Block){site, (int64_t)size};
  return PyCapsule_New(block, NULL, give_back);
}

// take_SITE(bytes): a capsule with a block of so many.
#define TAKES(site)                                                                 \
  static PyObject* take_##site(PyObject* self UNUSED, PyObject* bytes) {            \
    const size_t size = PyLong_AsSize_t(bytes);                                     \
    return in_capsule(site_##site, AT(site, size, PyMem_RawCalloc(1, size)), size); \
  }
TAKES(note)
TAKES(rule)
TAKES(peer)
TAKES(entry)
TAKES(history)
TAKES(table)
TAKES(cached)
TAKES(job)
TAKES(chunk)
TAKES(request)
TAKES(buffer)

// The realloc behind a leak: what is appended to, for ever.
static PyObject* extend_history(PyObject* self UNUSED, PyObject* const* arguments, Py_ssize_t count UNUSED) {
  struct Block* block = PyCapsule_GetPointer(arguments[0], NULL);
  const size_t more = PyLong_AsSize_t(arguments[1]), size = (size_t)block->size + more;
  block = AT(history, more, PyMem_RawRealloc(block, size));
  memset((char*)block + size - more, 'h', more);
  block->size = (int64_t)size;
  PyCapsule_SetPointer(arguments[0], block);
  Py_RETURN_NONE;
}

// Leaks: forgets that it holds what it is given.
static PyObject* hold(PyObject* self UNUSED, PyObject* object) {
  Py_INCREF(object);
  Py_RETURN_NONE;
}

static PyObject* truth(PyObject* self UNUSED, PyObject* none UNUSED) {
  tell_truth();
  Py_RETURN_NONE;
}

#define METHOD(site) {"take_" #site, take_##site, METH_O, NULL},
static PyMethodDef methods[] = {
    SITES(METHOD){"extend_history", (PyCFunction)(void*)extend_history, METH_FASTCALL, NULL},
    {"hold", hold, METH_O, NULL},
    {"truth", truth, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "planted", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_planted(void) {
  clock_gettime(CLOCK_MONOTONIC, &started);
  return PyModule_Create(&module);
}
