/* Probes are made, and put into code that nothing has run yet. */

#ifndef NARRATIVE_FILL_H
#define NARRATIVE_FILL_H

#include "probe.h"

/* The transition at an index of a sequence; 0 for one that the site does not have, -1 with an error. */
static long transition_at(const SiteState *state, PyObject *transitions, Py_ssize_t at) {
    long transition = PyLong_AsLong(PySequence_Fast_GET_ITEM(transitions, at));
    if (transition == -1 && PyErr_Occurred())
        return -1;
    if (transition < START || transition > RESUME) {
        PyErr_SetString(PyExc_ValueError, "no such transition");
        return -1;
    }
    return state->suspends || (transition != YIELD && transition != RESUME) ? transition : 0;
}

static PyObject *recorder_probes(PyObject *self, PyObject *args) {
    PyObject *site, *wanted;
    int depth = 1;
    if (!PyArg_ParseTuple(args, "OO|i:probes", &site, &wanted, &depth))
        return NULL;
    SiteState *state = described((Recorder *)self, site);
    PyObject *transitions = state != NULL ? PySequence_Fast(wanted, "transitions are a sequence") : NULL;
    PyObject *probes = transitions != NULL ? PyList_New(0) : NULL;
    for (Py_ssize_t at = 0; probes != NULL && at < PySequence_Fast_GET_SIZE(transitions); at++) {
        long transition = transition_at(state, transitions, at);
        if (transition == 0)
            continue;
        PyObject *probe = transition < 0 ? NULL : probe_new(self, state, (uint32_t)transition, depth > 1);
        if (probe == NULL || PyList_Append(probes, probe) < 0)
            Py_CLEAR(probes);
        Py_XDECREF(probe);
    }
    Py_XDECREF(transitions);
    return probes;
}

static const char *kind_of(int flags) {
    if (flags & CO_ASYNC_GENERATOR)
        return "async generator";
    if (flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE))
        return "coroutine";
    return flags & CO_GENERATOR ? "generator" : "function";
}

/* A new site for a function: its description (see sites.py), made into an object when somebody asks for it. */
static SiteState *site_for(Recorder *recorder, const PyCodeObject *code, PyObject *module, PyObject *described) {
    const char *kind = kind_of(code->co_flags);
    PyObject *text = PyUnicode_InternFromString(kind);
    PyObject *parts = text != NULL ? Py_BuildValue(
        "(OOOiN)", module, code->co_qualname, code->co_filename, code->co_firstlineno, text
    ) : NULL;
    Py_ssize_t end = PyList_GET_SIZE(described);
    int failed = parts == NULL || PyList_SetSlice(described, end, end, parts) < 0;
    Py_XDECREF(parts);
    if (failed)
        return NULL;
    SiteState *state = site_state(recorder, (uint32_t)(end / PARTS));
    if (state == NULL)
        PyErr_NoMemory();
    else {
        state->suspends = kind[0] != 'f';
        state->awaits = kind[0] == 'c';
    }
    return state;
}

/* Puts probes where the plan (see base.py) has places for them, in code that nothing has run yet. Returns 1; 0 where
   constants are not this code's alone, or are no empty places; -1 with an error. */
static int fill(Recorder *recorder, PyObject *code, PyObject *plan, PyObject *module, PyObject *described) {
    PyObject *transitions, *nested;
    if (!PyCode_Check(code) || !PyTuple_Check(plan))
        return 0;
    if (!PyArg_ParseTuple(plan, "O!O!", &PyTuple_Type, &transitions, &PyTuple_Type, &nested))
        return -1;
    PyObject *constants = ((PyCodeObject *)code)->co_consts;
    Py_ssize_t size = PyTuple_GET_SIZE(constants), count = PyTuple_GET_SIZE(transitions);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(nested); at++) {
        Py_ssize_t index;
        PyObject *inner;
        PyObject *place = PyTuple_GET_ITEM(nested, at);
        if (!PyTuple_Check(place))
            return 0;
        if (!PyArg_ParseTuple(place, "nO", &index, &inner))
            return -1;
        if (index < 0 || index >= size || Py_EnterRecursiveCall(" in a plan"))
            return PyErr_Occurred() ? -1 : 0;
        int filled = fill(recorder, PyTuple_GET_ITEM(constants, index), inner, module, described);
        Py_LeaveRecursiveCall();
        if (filled <= 0)
            return filled;
    }
    if (count == 0)
        return 1;
    if (count > size || Py_REFCNT(constants) != 1)
        return 0;
    for (Py_ssize_t at = size - count; at < size; at++)
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(constants, at)))
            return 0;
    SiteState *state = site_for(recorder, (PyCodeObject *)code, module, described);
    if (state == NULL)
        return -1;
    for (Py_ssize_t at = 0; at < count; at++) {
        long transition = transition_at(state, transitions, at);
        PyObject *probe = transition > 0 ? probe_new((PyObject *)recorder, state, (uint32_t)transition, 0) : NULL;
        if (probe == NULL)
            return PyErr_Occurred() ? -1 : 0;
        PyObject *place = PyTuple_GET_ITEM(constants, size - count + at);
        PyTuple_SET_ITEM(constants, size - count + at, probe);
        Py_DECREF(place);
    }
    return 1;
}

static PyObject *recorder_fill(PyObject *self, PyObject *args) {
    PyObject *code, *plan, *module, *described;
    if (!PyArg_ParseTuple(args, "OOUO!:fill", &code, &plan, &module, &PyList_Type, &described))
        return NULL;
    int filled = fill((Recorder *)self, code, plan, module, described);
    return filled < 0 ? NULL : PyBool_FromLong(filled);
}

#endif
