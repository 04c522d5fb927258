/* A probe: a constant of instrumented code, asked for its truth value at one transition of one site; the one for
   UNWIND is compared with the exception. It is no call: neither a tracer nor a limit of recursion sees it. */

#ifndef NARRATIVE_PROBE_H
#define NARRATIVE_PROBE_H

#include "patch.h"

typedef struct {
    PyObject_HEAD
    SiteState *state;
    uint32_t transition;
    uint8_t by_callback;
    uint64_t word;       /* what the buffer shows: `marshal` writes it as bytes, different for each probe */
    PyObject *recorder;  /* holds `state` */
    Patch *patches;      /* the jumps over it */
    uint8_t gave_up;     /* the site's generation in which it could not be jumped over, and 1 more */
} Probe;

static PyTypeObject *probe_type;      /* of UNWIND, and of whoever calls back */
static PyTypeObject *probe_types[2][6]; /* of the other transitions, of functions that are never suspended and of others */

static int is_kind(PyObject *kind, const char *name) {
    return PyUnicode_Check(kind) && PyUnicode_CompareWithASCIIString(kind, name) == 0;
}

static SiteState *state_of(Recorder *recorder, PyObject *site) {
    PyObject *number = PyObject_GetAttrString(site, "number");
    if (number == NULL)
        return NULL;
    unsigned long value = PyLong_AsUnsignedLong(number);
    Py_DECREF(number);
    if (PyErr_Occurred())
        return NULL;
    SiteState *state = site_state(recorder, (uint32_t)value);
    if (state == NULL)
        PyErr_NoMemory();
    return state;
}

/* Takes over what the site says of itself. */
static SiteState *described(Recorder *recorder, PyObject *site) {
    SiteState *state = state_of(recorder, site);
    if (state == NULL)
        return NULL;
    PyObject *kind = PyObject_GetAttrString(site, "kind");
    PyObject *marked = kind != NULL ? PyObject_GetAttrString(site, "marked") : NULL;
    if (marked != NULL) {
        state->suspends = !is_kind(kind, "function");
        state->awaits = (uint8_t)is_kind(kind, "coroutine");
        state->limit = marked == Py_True ? 0 : recorder->min_duration;
    }
    Py_XDECREF(kind);
    Py_XDECREF(marked);
    if (marked == NULL || PyObject_SetAttrString(site, "recorder", (PyObject *)recorder) < 0)
        return NULL;
    return state;
}

/* Lets a site report nothing because the program says so; or report again, whoever has silenced it. */
static PyObject *set_silent(Recorder *recorder, PyObject *site, int silent) {
    SiteState *state = state_of(recorder, site);
    if (state == NULL)
        return NULL;
    if (silent)
        state->silent |= BY_PROGRAM;
    else if (patches_undo(state)) { /* else it stays silent until the next time */
        state->silent = 0;
        state->generation++;
    }
    Py_RETURN_NONE;
}

static inline void *probe_frame(const Probe *probe) { return probe->by_callback ? frame_of_caller() : frame_here(); }

/* On 3.11 the comparison of the probe for UNWIND takes a level of recursion, and there may be none left: the probe is
   asked for its truth value right before, and lends one until then. */
static inline void lend_level(int lends) {
#if PY_VERSION_HEX < 0x030c0000
    static __thread int lent FAST_THREAD_LOCAL;
    if (lent != lends)
        thread_state()->recursion_remaining += lends ? 1 : -1;
    lent = lends;
#else
    (void)lends;
#endif
}

/* A probe of a silent site is asked: it is to be jumped over from now on. */
static __attribute__((noinline)) void probe_withdraw(Probe *probe) {
    uint8_t now = (uint8_t)(probe->state->generation + 1);
    if (probe->gave_up == now)
        return;
    if (!patch_here((PyObject *)probe, probe->state, &probe->patches))
        probe->gave_up = now;
}

static int on_transition(const SiteState *site, uint32_t transition, void *frame) {
    switch (transition) {
    case START: return on_start(site, frame, site->suspends);
    case RETURN: return on_return(site, frame, site->suspends);
    case YIELD: return on_yield(site, frame);
    case RESUME: return on_resume(site, frame);
    default: return 0; /* UNWIND comes with its exception */
    }
}

static int probe_bool(PyObject *self) {
    const Probe *probe = (Probe *)self;
    if (probe->transition == UNWIND)
        lend_level(1);
    else if (!probe->state->silent)
        return on_transition(probe->state, probe->transition, probe_frame(probe)) < 0 ? -1 : 1;
    return 1;
}

/* The truth value of a probe of one transition. */
#define TRUTH(name, transition)                            \
    static int name(PyObject *self) {                      \
        const SiteState *site = ((Probe *)self)->state;    \
        if (LIKELY(!site->silent))                         \
            return UNLIKELY((transition) < 0) ? -1 : 1;    \
        probe_withdraw((Probe *)self);                     \
        return 1;                                          \
    }

TRUTH(start_bool, on_start(site, frame_here(), 0))
TRUTH(start_suspendable_bool, on_start(site, frame_here(), 1))
TRUTH(return_bool, on_return(site, frame_here(), 0))
TRUTH(return_suspendable_bool, on_return(site, frame_here(), 1))
TRUTH(yield_bool, on_yield(site, frame_here()))
TRUTH(resume_bool, on_resume(site, frame_here()))

static int probe_unwinds(const Probe *probe, uint64_t identity, PyTypeObject *kind) {
    if (probe->state->silent || probe->transition != UNWIND)
        return 0;
    return on_unwind(probe->state, probe_frame(probe), identity, kind);
}

static PyObject *probe_compare(PyObject *self, PyObject *other, int operation) {
    if (operation != Py_EQ && operation != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (operation == Py_EQ && PyExceptionInstance_Check(other)) {
        lend_level(0);
        if (probe_unwinds((Probe *)self, (uint64_t)(uintptr_t)other, Py_TYPE(other)) < 0)
            return NULL;
    }
    return PyBool_FromLong((self == other) == (operation == Py_EQ));
}

static Py_hash_t probe_hash(PyObject *self) { return (Py_hash_t)((uintptr_t)self >> 4); }

static int probe_buffer(PyObject *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, self, &((Probe *)self)->word, sizeof ((Probe *)self)->word, 1, flags);
}

static PyObject *probe_left(PyObject *self, PyObject *args) {
    PyObject *identity, *kind;
    if (!PyArg_ParseTuple(args, "O!O!:left", &PyLong_Type, &identity, &PyType_Type, &kind))
        return NULL;
    uint64_t number = (uint64_t)PyLong_AsUnsignedLongLongMask(identity);
    if (probe_unwinds((Probe *)self, number, (PyTypeObject *)kind) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Pickled by value, in a function's constants, into a process that may lack this package: an empty tuple has a truth
   value and compares with anything. */
static PyObject *probe_reduce(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(protocol)) {
    return Py_BuildValue("(O())", (PyObject *)&PyTuple_Type);
}

static void probe_dealloc(PyObject *self) {
    for (Patch *patch = ((Probe *)self)->patches, *next; patch != NULL; patch = next) {
        next = patch->next_of_probe;
        patch_free(patch);
    }
    Py_XDECREF(((Probe *)self)->recorder);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *probe_new(PyObject *recorder, SiteState *state, uint32_t transition, int by_callback) {
    PyTypeObject *type = by_callback ? NULL : probe_types[state->suspends][transition];
    Probe *probe = PyObject_New(Probe, type != NULL ? type : probe_type);
    if (probe == NULL)
        return NULL;
    probe->state = state;
    probe->transition = transition;
    probe->by_callback = (uint8_t)by_callback;
    probe->word = state->number | (uint64_t)transition << 32;
    probe->recorder = Py_NewRef(recorder);
    probe->patches = NULL;
    probe->gave_up = 0;
    return (PyObject *)probe;
}

static PyMethodDef probe_methods[] = {
    {"left", probe_left, METH_VARARGS, "left(identity, kind)\n--\n\nReport an exception that is not at hand any more."},
    {"__reduce_ex__", probe_reduce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *probe_site(PyObject *self, void *Py_UNUSED(closure)) {
    const Probe *probe = (Probe *)self;
    PyObject *sites = PyObject_GetAttrString(probe->recorder, "sites");
    PyObject *number = sites != NULL ? PyLong_FromUnsignedLong(probe->state->number) : NULL;
    PyObject *site = number != NULL ? PyObject_GetItem(sites, number) : NULL;
    Py_XDECREF(number);
    Py_XDECREF(sites);
    return site;
}

static PyGetSetDef probe_properties[] = {
    {"site", probe_site, NULL, "the Site it reports at", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot probe_slots[] = {
    {Py_tp_dealloc, probe_dealloc},
    {Py_nb_bool, probe_bool},
    {Py_tp_richcompare, probe_compare},
    {Py_tp_hash, probe_hash},
    {Py_bf_getbuffer, probe_buffer},
    {Py_tp_methods, probe_methods},
    {Py_tp_getset, probe_properties},
    {0, NULL},
};

static PyType_Spec probe_spec = {
    .name = "narrative_auto.recorder._native.Probe",
    .basicsize = sizeof(Probe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_BASETYPE,
    .slots = probe_slots,
};

/* Makes the types of probes that have a transition of their own. */
static int probe_types_make(void) {
    static const struct {
        const char *name;
        inquiry truth;
        uint8_t suspends, transition;
    } kinds[] = {
        {"narrative_auto.recorder._native.StartProbe", start_bool, 0, START},
        {"narrative_auto.recorder._native.ReturnProbe", return_bool, 0, RETURN},
        {"narrative_auto.recorder._native.StartSuspendableProbe", start_suspendable_bool, 1, START},
        {"narrative_auto.recorder._native.ReturnSuspendableProbe", return_suspendable_bool, 1, RETURN},
        {"narrative_auto.recorder._native.YieldProbe", yield_bool, 1, YIELD},
        {"narrative_auto.recorder._native.ResumeProbe", resume_bool, 1, RESUME},
    };
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        PyType_Slot slots[] = {{Py_nb_bool, (void *)kinds[at].truth}, {Py_tp_dealloc, (void *)probe_dealloc}, {0, NULL}};
        PyType_Spec spec = {
            .name = kinds[at].name,
            .basicsize = sizeof(Probe),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
            .slots = slots,
        };
        PyObject *type = PyType_FromSpecWithBases(&spec, (PyObject *)probe_type);
        if (type == NULL)
            return -1;
        probe_types[kinds[at].suspends][kinds[at].transition] = (PyTypeObject *)type;
    }
    return 0;
}

#endif
