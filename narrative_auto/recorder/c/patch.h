/* Jumps over probes: what a released site costs no more than.

   In front of each probe that is asked for its truth value stands a NOP. A probe whose site is silent writes a jump over
   itself into that place, when it is asked the next time; when the site is to report again, the NOP comes back. No
   function has to be found for it, so closures, decorated functions and frames that run are all reached. Whoever runs
   code holds the GIL, so nobody is between the two bytes of an instruction. */

#ifndef NARRATIVE_PATCH_H
#define NARRATIVE_PATCH_H

#include "recorder.h"
#include <opcode.h>
#undef RESUME /* the transition, not the instruction */

#if PY_VERSION_HEX >= 0x030d0000
#define ASKING_UNITS 5u /* TO_BOOL and its three inline caches, POP_TOP */
#else
#define ASKING_UNITS 2u /* UNARY_NOT, POP_TOP */
#endif

typedef struct Patch {
    PyObject *code; /* a weak reference: a probe may outlive the code, in a copy of it */
    uint32_t place; /* offset of the NOP, in bytes */
    struct Patch **of_probe, *next_of_probe; /* the probe's list: it may stand at several places, and in copies */
    struct Patch *next, **before;            /* the site's list */
} Patch;

static inline unsigned char *text_of(PyCodeObject *code) { return (unsigned char *)code->co_code_adaptive; }

/* The offset of the NOP in front of a probe that is being asked at `offset`; -1 where the code is not as expected. */
static Py_ssize_t nop_of(PyObject *probe, PyCodeObject *code, Py_ssize_t offset) {
    const unsigned char *text = text_of(code);
    Py_ssize_t at = offset - 2; /* LOAD_CONST */
    uint32_t index = 0;
    for (int shift = 0; at >= 0 && shift < 32; shift += 8, at -= 2) {
        index |= (uint32_t)text[at + 1] << shift;
        if (at < 2 || text[at - 2] != EXTENDED_ARG)
            break;
    }
    at -= 2;
    if (at < 0 || index >= (size_t)PyTuple_GET_SIZE(code->co_consts) || PyTuple_GET_ITEM(code->co_consts, index) != probe
        || text[at] != NOP)
        return -1;
    return at;
}

/* Adds a place to a site's list and a probe's; 0 without memory. */
static int patch_note(PyCodeObject *code, Py_ssize_t place, SiteState *state, Patch **of_probe) {
    PyObject *weak = PyWeakref_NewRef((PyObject *)code, NULL); /* all that have no callback are one */
    Patch *patch = *of_probe;
    while (patch != NULL && (patch->code != weak || patch->place != (uint32_t)place))
        patch = patch->next_of_probe;
    if (weak == NULL || patch != NULL) { /* the NOP has come back by other hands */
        PyErr_Clear();
        Py_XDECREF(weak);
        return weak != NULL;
    }
    PyObject *text = PyCode_GetCode(code); /* kept with the code: what `co_code` shows, and copies are made of, has the NOPs */
    patch = text != NULL ? malloc(sizeof *patch) : NULL;
    Py_XDECREF(text);
    if (patch == NULL) {
        PyErr_Clear();
        Py_DECREF(weak);
        return 0;
    }
    *patch = (Patch){weak, (uint32_t)place, of_probe, *of_probe, state->patches, &state->patches};
    if (patch->next != NULL)
        patch->next->before = &patch->next;
    *of_probe = state->patches = patch;
    return 1;
}

/* Writes the jump over a probe that is being asked by the frame that runs; returns whether it could. */
static int patch_here(PyObject *probe, SiteState *state, Patch **of_probe) {
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL)
        return 0;
    PyCodeObject *code = PyFrame_GetCode(frame);
    Py_ssize_t asking = PyFrame_GetLasti(frame), place = nop_of(probe, code, asking);
    int can = place >= 0 && patch_note(code, place, state, of_probe);
    if (can) {
        text_of(code)[place + 1] = (unsigned char)(asking / 2 + ASKING_UNITS - (place / 2 + 1));
        text_of(code)[place] = JUMP_FORWARD;
    }
    Py_DECREF(code);
    return can;
}

static void patch_free(Patch *patch) {
    Patch **link = patch->of_probe;
    while (*link != patch)
        link = &(*link)->next_of_probe;
    *link = patch->next_of_probe;
    *patch->before = patch->next;
    if (patch->next != NULL)
        patch->next->before = patch->before;
    Py_DECREF(patch->code);
    free(patch);
}

/* The code that a patch stands in; NULL where it is gone. A new reference. */
static PyCodeObject *code_of(const Patch *patch) {
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *code = NULL;
    if (PyWeakref_GetRef(patch->code, &code) < 0)
        PyErr_Clear();
#else
    PyObject *code = PyWeakref_GetObject(patch->code);
    code = code == Py_None ? NULL : Py_XNewRef(code);
#endif
    return (PyCodeObject *)code;
}

/* Puts the NOPs of a site back: all, or none where a tool of sys.monitoring has put something of its own over a jump, as
   a call that is seen to start has to be seen to end. Returns whether they are back. */
static int patches_undo(SiteState *state) {
    for (Patch *patch = state->patches; patch != NULL; patch = patch->next) {
        PyCodeObject *code = code_of(patch);
        int is_ours = code == NULL || text_of(code)[patch->place] == JUMP_FORWARD;
        Py_XDECREF(code); /* somebody else has it too: that frees nothing */
        if (!is_ours)
            return 0;
    }
    while (state->patches != NULL) {
        PyCodeObject *code = code_of(state->patches);
        if (code != NULL) {
            text_of(code)[state->patches->place] = NOP;
            text_of(code)[state->patches->place + 1] = 0;
            Py_DECREF(code);
        }
        patch_free(state->patches);
    }
    return 1;
}

#endif
