/* What the sites are, written into the black box: records hold their numbers alone. */

#ifndef NARRATIVE_DESCRIBE_H
#define NARRATIVE_DESCRIBE_H

#include "memory.h"

#define PARTS 5 /* as in sites.py */
#define DESCRIPTIONS_SIZE 0x8000u
#define MOST_TEXT 1000

/* As in layout.py; the texts of module, name and file follow, in UTF-8. */
typedef struct {
    uint32_t size, number, line;
    uint16_t module, name, file, kind; /* the lengths of the texts; file: SAME_FILE for that of the one before */
} Description;

#define SAME_FILE 0xffffu

_Static_assert(sizeof(Description) == 20, "as in layout.py");

static uint16_t utf8_of(PyObject *object, const char **text) {
    Py_ssize_t size = 0;
    *text = object != NULL && PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
    if (*text == NULL)
        *text = "?", size = 1; /* it cannot be encoded */
    return (uint16_t)(size < MOST_TEXT ? size : MOST_TEXT);
}

/* Room for a description; NULL where the black box has none. */
static char *description_take(Recorder *recorder, uint32_t size) {
    char *block = recorder->descriptions.block;
    if (block == NULL || ((Block *)block - 1)->used + size > ((Block *)block - 1)->size) {
        uint64_t at;
        block = box_take(BLOCK_SITES, DESCRIPTIONS_SIZE, &at);
        if (block == NULL)
            return NULL;
        recorder->descriptions.block = block;
        recorder->descriptions.file = NULL;
    }
    return block + ((Block *)block - 1)->used;
}

/* Writes down what a site is, the first time that it is called. Parts of a description are what `Site` in sites.py
   has, which stands in the first one's place once it was asked for. */
static void site_describe(Recorder *recorder, uint32_t number) {
    SiteState *state = site_state(recorder, number);
    Py_ssize_t first = (Py_ssize_t)number * PARTS;
    if (state == NULL || state->described || first + PARTS > PyList_GET_SIZE(recorder->described))
        return;
    state->described = 1;
    PyObject *parts[PARTS], *module = NULL, *name = NULL;
    for (int at = 0; at < PARTS; at++)
        parts[at] = Py_NewRef(PyList_GET_ITEM(recorder->described, first + at));
    if (!PyUnicode_Check(parts[0])) {
        module = PyObject_GetAttrString(parts[0], "module");
        name = PyObject_GetAttrString(parts[0], "name");
    }
    const char *texts[3];
    Description all = {.number = number, .line = (uint32_t)PyLong_AsUnsignedLongMask(parts[3])};
    all.module = utf8_of(module != NULL ? module : parts[0], &texts[0]);
    all.name = utf8_of(name != NULL ? name : parts[1], &texts[1]);
    all.file = utf8_of(parts[2], &texts[2]);
    all.kind = (uint16_t)((state->suspends ? 1 : 0) | (state->awaits ? 2 : 0));
    uint32_t most = (uint32_t)up_to(sizeof all + all.module + all.name + all.file, 4);
    char *to = description_take(recorder, most);
    if (to != NULL) {
        const uint16_t lengths[3] = {all.module, all.name, all.file};
        int is_same = recorder->descriptions.file == (void *)parts[2];
        if (is_same)
            all.file = SAME_FILE;
        all.size = (uint32_t)up_to(sizeof all + all.module + all.name + (is_same ? 0 : all.file), 4);
        char *text = to + sizeof all;
        for (int at = 0; at < (is_same ? 2 : 3); at++) {
            memcpy(text, texts[at], lengths[at]);
            text += lengths[at];
        }
        memcpy(to, &all, sizeof all);
        recorder->descriptions.file = parts[2];
        PUBLISH();
        ((Block *)recorder->descriptions.block - 1)->used += all.size;
    }
    PyErr_Clear();
    for (int at = 0; at < PARTS; at++)
        Py_DECREF(parts[at]);
    Py_XDECREF(module);
    Py_XDECREF(name);
}

#endif
