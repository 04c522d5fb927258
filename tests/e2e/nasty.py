"""Sixty ways to make a failure hard to report, each a program; what Python says of them is to come first, unchanged."""

from __future__ import annotations

_RAISE = "def f(): raise E()\ndef main(): f()\nmain()\n"
_ASK = "class E(Exception):\n    "

TEXTS = {
    "__str__ raises": _ASK + "def __str__(self): raise RuntimeError('str')\n" + _RAISE,
    "__str__ raises SystemExit": _ASK + "def __str__(self): raise SystemExit(9)\n" + _RAISE,
    "__str__ raises KeyboardInterrupt": _ASK + "def __str__(self): raise KeyboardInterrupt\n" + _RAISE,
    "__str__ recurses for ever": _ASK + "def __str__(self): return str(self)\n" + _RAISE,
    "__str__ gives a number": _ASK + "def __str__(self): return 5\n" + _RAISE,
    "__str__ gives a subclass": "class T(str):\n    def splitlines(self, *a): raise ValueError\n    def __len__(self): return 3\n"
    + _ASK
    + "def __str__(self): return T('text')\n"
    + _RAISE,
    "__str__ gives ten megabytes": _ASK + "def __str__(self): return 'x' * 10_000_000\n" + _RAISE,
    "__str__ gives 100,000 lines": _ASK + "def __str__(self): return 'line\\n' * 100_000\n" + _RAISE,
    "__str__ takes two seconds": "import time\n" + _ASK + "def __str__(self): time.sleep(2); return 'slow'\n" + _RAISE,
    "__str__ changes the program": "seen = []\n" + _ASK + "def __str__(self): seen.append(1); return 'told'\n" + _RAISE,
    "__repr__ raises": "class O:\n    def __repr__(self): raise ValueError('repr')\ndef f(): raise ValueError(O())\ndef main(): f()\nmain()\n",
    "__repr__ recurses for ever": "class O:\n    def __repr__(self): return repr(self)\ndef f(o): raise KeyError(o)\ndef main(): f(O())\nmain()\n",
    "__repr__ takes two seconds": "import time\nclass O:\n    def __repr__(self): time.sleep(2); return 'O'\ndef f(o):\n    row = [o]; raise ValueError('x')\ndef main(): f(O())\nmain()\n",
    "escapes and surrogates": "def f(): raise ValueError('\\x1b[31mred\\x1b[0m \\ud800 \\x00 \\r over')\ndef main(): f()\nmain()\n",
    "wide and combining characters": "def f(): raise ValueError('漢字' * 60 + 'e\\u0301' * 40)\ndef main(): f()\nmain()\n",
    "right to left": "def f(): raise ValueError('\\u202eabc\\u2066 \\u200b' * 20)\ndef main(): f()\nmain()\n",
    "bytes for a message": "def f(): raise ValueError(b'\\xff\\xfe' * 100)\ndef main(): f()\nmain()\n",
    "no arguments": "def f(): raise ValueError\ndef main(): f()\nmain()\n",
    "many arguments": "def f(): raise ValueError(*range(5000))\ndef main(): f()\nmain()\n",
    "an own __init__ without super": "class E(Exception):\n    def __init__(self, *, code): self.code = code\ndef f(): raise E(code=3)\ndef main(): f()\nmain()\n",
    "a secret in the message": "def f(): raise ValueError('login failed: password=hunter2hunter2')\ndef main(): f()\nmain()\n",
}

ATTRIBUTES = {
    "a metaclass that raises": "class M(type):\n    def __getattribute__(c, n): raise RuntimeError\nclass E(Exception, metaclass=M): pass\n"
    + _RAISE,
    "a metaclass without a name": "class M(type):\n    __qualname__ = property(lambda c: 1 / 0)\n    __module__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\n"
    + _RAISE,
    "a module that is no text": "class E(Exception): __module__ = 7\n" + _RAISE,
    "a long name": "E = type('E' * 5000, (Exception,), {})\n" + _RAISE,
    "__getattribute__ raises": "class E(Exception):\n    def __getattribute__(self, n): raise OSError(n)\n" + _RAISE,
    "__class__ lies": "class E(Exception):\n    __class__ = property(lambda s: KeyboardInterrupt)\n" + _RAISE,
    "__eq__ and __hash__ raise": "class E(Exception):\n    def __eq__(s, o): raise OSError\n    def __hash__(s): raise OSError\n    def __bool__(s): raise OSError\n"
    + _RAISE,
    "__traceback__ is a property": "class E(Exception):\n    __traceback__ = property(lambda s: 1 / 0)\n" + _RAISE,
    "__cause__ is a property": "class E(Exception):\n    __cause__ = property(lambda s: 1 / 0)\n    __context__ = property(lambda s: 1 / 0)\n"
    + _RAISE,
    "__slots__": "class E(Exception):\n    __slots__ = ()\n" + _RAISE,
    "a SyntaxError by hand": "def f(): raise SyntaxError('odd', ('file', 'x', None, 3))\ndef main(): f()\nmain()\n",
    "a SyntaxError of other code": "def f(): compile('a = (', 'given.txt', 'exec')\ndef main(): f()\nmain()\n",
    "a UnicodeDecodeError": "def f(): b'\\xff'.decode()\ndef main(): f()\nmain()\n",
    "BaseException itself": "def f(): raise BaseException('base')\ndef main(): f()\nmain()\n",
    "a subclass of KeyboardInterrupt": "class E(KeyboardInterrupt): pass\n" + _RAISE,
    "GeneratorExit": "def f(): raise GeneratorExit('odd')\ndef main(): f()\nmain()\n",
}

CHAINS = {
    "causes in a circle": "def f():\n    e = ValueError(1); e.__cause__ = ValueError(2); e.__cause__.__cause__ = e; raise e\ndef main(): f()\nmain()\n",
    "contexts in a circle": "def f():\n    a, b = ValueError(1), ValueError(2)\n    a.__context__ = b; b.__context__ = a\n    raise a\ndef main(): f()\nmain()\n",
    "its own cause": "def f():\n    e = ValueError(1); e.__cause__ = e; raise e\ndef main(): f()\nmain()\n",
    "500 causes": "def f():\n    e = ValueError(0)\n    for n in range(500):\n        new = ValueError(n); new.__cause__ = e; e = new\n    raise e\ndef main(): f()\nmain()\n",
    "from None": "def f():\n    try: 1 / 0\n    except ZeroDivisionError: raise ValueError('hidden') from None\ndef main(): f()\nmain()\n",
    "a context": "def f():\n    try: 1 / 0\n    except ZeroDivisionError: raise ValueError('while handling')\ndef main(): f()\nmain()\n",
    "a group of 1,000": "def f(): raise ExceptionGroup('g', [ValueError(n) for n in range(1000)])\ndef main(): f()\nmain()\n",
    "groups 50 deep": "def f():\n    e = ValueError(0)\n    for n in range(50): e = ExceptionGroup(str(n), [e])\n    raise e\ndef main(): f()\nmain()\n",
    "a group with itself in it": "def f():\n    g = ExceptionGroup('g', [ValueError(1)]); g.exceptions[0].__cause__ = g; raise g\ndef main(): f()\nmain()\n",
    "a group of a class of its own": "class G(ExceptionGroup):\n    exceptions = property(lambda s: 1 / 0)\ndef f(): raise G('g', [ValueError(1)])\ndef main(): f()\nmain()\n",
    "notes that are none": "def f():\n    e = ValueError('v'); e.__notes__ = 7; raise e\ndef main(): f()\nmain()\n",
    "notes of all sorts": "class N:\n    def __str__(self): raise OSError\ndef f():\n    e = ValueError('v'); e.add_note('n1'); e.__notes__ += [5, N(), 'x\\ny', '\\ud800']; raise e\ndef main(): f()\nmain()\n",
    "10,000 notes": "def f():\n    e = ValueError('v')\n    for n in range(10_000): e.add_note(str(n))\n    raise e\ndef main(): f()\nmain()\n",
}

STACKS = {
    "a recursion of 10,000 frames": "import sys\nsys.setrecursionlimit(20_000)\ndef f(n):\n    if n == 0: raise ValueError('deep')\n    f(n - 1)\ndef main(): f(10_000)\nmain()\n",
    "the end of the stack": "def f(): f()\ndef main(): f()\nmain()\n",
    "two functions in turns": "import sys\nsys.setrecursionlimit(5_000)\ndef even(n):\n    if n == 0: raise ValueError('deep')\n    odd(n - 1)\ndef odd(n): even(n - 1)\ndef main(): even(1_000)\nmain()\n",
    "little stack left": "import sys\nsys.setrecursionlimit(60)\ndef f(n): f(n + 1)\ndef main(): f(0)\nmain()\n",
    "no traceback": "import sys\ndef main():\n    sys.excepthook(ValueError, ValueError('by hand'), None); raise LookupError('after')\nmain()\n",
    "frames of C only": "def main(): sorted([1, 'x'])\nmain()\n",
    "a callback of C": "def key(x): raise ValueError(x)\ndef main(): sorted([1, 2], key=key)\nmain()\n",
    "code without a file": "def main(): exec(compile('def f():\\n    raise ValueError(1)\\nf()', '<made up>', 'exec'), {})\nmain()\n",
    "code without positions": "def f(): raise ValueError(1)\nf.__code__ = f.__code__.replace(co_linetable=b'')\ndef main(): f()\nmain()\n",
    "a generator": "def g():\n    yield 1\n    raise ValueError('g')\ndef main(): list(g())\nmain()\n",
    "raised again": "def f(): raise ValueError(1)\ndef main():\n    try: f()\n    except ValueError as e:\n        for _ in range(3):\n            try: raise e\n            except ValueError: pass\n        raise\nmain()\n",
}

SURROUNDINGS = {
    "the source is gone": "import os\ndef f():\n    os.remove(__file__)\n    raise ValueError\ndef main(): f()\nmain()\n",
    "the source is another": "import os\ndef f():\n    open(__file__, 'w').write('x = 1\\n')\n    raise ValueError\ndef main(): f()\nmain()\n",
    "the source is a folder": "import os\ndef f():\n    os.remove(__file__); os.mkdir(__file__)\n    raise ValueError\ndef main(): f()\nmain()\n",
    "the source is Latin-1": "# -*- coding: latin-1 -*-\ndef f():\n    raise ValueError('h\\xe9')  # caf\xe9\ndef main(): f()\nmain()\n",
    "locals that look back": "class L(dict):\n    def items(self): raise OSError\n    def __len__(self): raise OSError\nclass D(dict): pass\ndef f():\n    rows = L(a=1); d = D(); d['me'] = d; loop = []; loop.append(loop)\n    raise ValueError('v')\ndef main(): f()\nmain()\n",
    "stderr is gone": "import sys\ndef f():\n    sys.stderr = None\n    raise ValueError\ndef main(): f()\nmain()\n",
    "stdout is closed": "import sys\ndef f():\n    sys.stdout.close()\n    raise ValueError('v')\ndef main(): f()\nmain()\n",
    "linecache is not itself": "import linecache\nlinecache.getlines = linecache.checkcache = linecache.getline = None\ndef f(): raise ValueError('v')\ndef main(): f()\nmain()\n",
    "builtins are not themselves": "import builtins\ndef f():\n    builtins.print = builtins.input = None\n    raise ValueError('v')\ndef main(): f()\nmain()\n",
    "time is not itself": "import time\ndef f():\n    time.time_ns = time.time = lambda: 0\n    raise ValueError('v')\ndef main(): f()\nmain()\n",
    "os._exit in a hook": "import os, sys\nold = sys.excepthook\nsys.excepthook = lambda *a: (old(*a), sys.stderr.flush(), os._exit(7))\ndef main(): raise ValueError('v')\nmain()\n",
    "a hook that raises": "import sys\ndef hook(*a): raise OSError('hook')\nsys.excepthook = hook\ndef main(): raise ValueError('v')\nmain()\n",
    "no hook": "import sys\ndel sys.excepthook\ndef main(): raise ValueError('v')\nmain()\n",
    "a hook called while it ends": "import atexit, sys\ndef main(): atexit.register(lambda: sys.excepthook(ValueError, ValueError('late'), None))\nmain()\n",
    "in an exit handler": "import atexit\ndef f(): raise ValueError('late')\ndef main(): atexit.register(f)\nmain()\n",
    "in a __del__ at the end": "class C:\n    def __del__(self): raise ValueError('late')\nkeep = C()\ndef main(): pass\nmain()\n",
    "in a thread at the end": "import threading, time\ndef work():\n    time.sleep(0.05); raise ValueError('late')\ndef main(): threading.Thread(target=work).start()\nmain()\n",
    "no memory": "def f(): raise MemoryError('none left')\ndef main(): f()\nmain()\n",
    "recursion while it is told": "import sys\nold = sys.excepthook\ndef hook(*a):\n    old(*a)\n    def g(): g()\n    g()\nsys.excepthook = hook\ndef main(): raise ValueError('v')\nmain()\n",
}

PROGRAMS = TEXTS | ATTRIBUTES | CHAINS | STACKS | SURROUNDINGS
