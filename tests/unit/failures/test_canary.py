"""Hundreds of made-up secrets in every place that they turn up in: none survives; and what only looks like one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import make_dataclass
from urllib.parse import quote

import pytest

from narrative_auto.failures.redaction import Redactor
from tests.secret_shapes import EACH, NAMED, SHAPES, pieces, planted, planted_under_names

REDACTOR = Redactor()
SEEDS = (1, 20_26)

Place = Callable[[str], str]


def _text(form: str) -> Place:
    return lambda secret: REDACTOR.text(form.replace("%", secret))


def _dataclass(secret: str) -> str:
    inner = make_dataclass("Inner", ["value"])
    outer = make_dataclass("Config", ["host", "value", "nested", "port"])
    return REDACTOR.text(repr(outer("x", secret, inner(secret), 80)))


PLACES: dict[str, Place] = {
    "alone": _text("%"),
    "message": _text("ValueError: cannot use % here, try another"),
    "dataclass": _dataclass,
    "dict": lambda secret: REDACTOR.text(repr({"host": "x", "value": secret, "list": [1, secret]})),
    "repr of bytes": lambda secret: REDACTOR.text(repr({"value": secret.encode()})),
    "JSON": lambda secret: REDACTOR.text(json.dumps({"host": "x", "value": secret, "n": [secret, 1]}, indent=2)),
    "escaped JSON": lambda secret: REDACTOR.text(json.dumps({"body": json.dumps({"value": secret})})),
    "JSON in a repr": lambda secret: REDACTOR.text(repr([json.dumps({"value": secret})])),
    "header": _text("GET / HTTP/1.1\r\nX-Thing: %\r\nHost: x\r\n"),
    "query": _text("GET https://host:8443/path?page=3&thing=%&x=1 200"),
    "log line": _text("2024-05-06 10:00:00,123 INFO shop.store: sent value=% to host (3 ms)"),
    "log with a colon": _text("2024-05-06 10:00:00,123 INFO shop.store: value: %"),
    "setting": _text("HOST=x\nTHING=%\nPORT=80\n"),
    "quoted setting": _text('export THING="%"\n'),
    "YAML": _text("host: x\nthing: %\nport: 80\n"),
    "TOML": _text('[thing]\nvalue = "%"\n'),
    "SQL": _text("INSERT INTO things (id, value) VALUES (1, '%')"),
    "note": _text("seen while\n  loading %\n  from x"),
    "HTML": _text("<p class='x'>%</p>"),
    "Markdown": _text("use `%` or [this](%)"),
    "arguments": lambda secret: " ".join(REDACTOR.arguments(["python", "app.py", secret, f"--value={secret}"])),
    "source": lambda secret: REDACTOR.source(f"value = {secret!r}  # was {json.dumps(secret)}\nrun(value)\n"),
    "source comment": lambda secret: REDACTOR.source("x = 1  # " + secret.replace("\n", "\n# ")),
    "nested": lambda secret: json.dumps(REDACTOR.nested({"a": [secret, {"b": f"x {secret} y"}], secret: 1})),
}

NAMED_PLACES: dict[str, Callable[[str, str], str]] = {
    "setting": lambda name, secret: REDACTOR.text(f"HOST=x\n{name}={secret}\nPORT=80"),
    "quoted setting": lambda name, secret: REDACTOR.text(f'export {name}="{secret}"'),
    "message": lambda name, secret: REDACTOR.text(f"rejected ({name}={secret}), sorry"),
    "log": lambda name, secret: REDACTOR.text(f"2024-05-06 10:00:00 INFO shop: {name}: {secret}"),
    "dataclass": lambda name, secret: REDACTOR.text(f"Config(host='x', {name}={secret!r}, port=3)"),
    "SecretStr": lambda name, secret: REDACTOR.text(f"Config(host='x', nested=Inner({name}='{secret}', n=1), port=3)"),
    "dict": lambda name, secret: REDACTOR.text(repr({"host": "x", name: secret, "port": 1})),
    "dict of bytes": lambda name, secret: REDACTOR.text(repr({name: secret.encode()})),
    "JSON": lambda name, secret: REDACTOR.text(json.dumps({"host": "x", name: secret}, indent=2)),
    "escaped JSON": lambda name, secret: REDACTOR.text(json.dumps({"body": json.dumps({name: secret, "n": 1})})),
    "JSON in a repr": lambda name, secret: REDACTOR.text(repr([json.dumps({name: secret})])),
    "header": lambda name, secret: REDACTOR.text(f"GET / HTTP/1.1\r\nX-{name}: {secret}\r\nHost: x\r\n"),
    "query": lambda name, secret: REDACTOR.text(f"GET https://host:8443/p?page=3&{name}={quote(secret)}&x=1 200"),
    "YAML": lambda name, secret: REDACTOR.text(f"host: x\n{name}: {secret}\nport: 80\n"),
    "TOML": lambda name, secret: REDACTOR.text(f'[thing]\n{name} = "{secret}"\n'),
    "SQL": lambda name, secret: REDACTOR.text(f"UPDATE users SET name='bob', {name}='{secret}' WHERE id=3"),
    "option": lambda name, secret: " ".join(REDACTOR.arguments(["app", f"--{name}={secret}"])),
    "source": lambda name, secret: REDACTOR.source(f"connect({name}={secret!r}, host='x')"),
    "nested": lambda name, secret: json.dumps(REDACTOR.nested({"a": f"early {secret}", "b": {name: secret}})),
}

STRONG_PLACES: dict[str, Callable[[str, str], str]] = {
    "insert": lambda name, secret: REDACTOR.text(f"INSERT INTO t (id, {name}) VALUES (1, '{secret}'), (2, '{secret}')"),
    "comparison": lambda name, secret: REDACTOR.text(f"SELECT * FROM t WHERE t.{name} IN ('x', '{secret}') AND id=1"),
    "option": lambda name, secret: REDACTOR.text(f"app --{name} {secret} --verbose"),
    "arguments": lambda name, secret: " ".join(REDACTOR.arguments(["app", f"--{name}", secret, "--verbose"])),
    "pair": lambda name, secret: REDACTOR.text(repr([(name, secret), ("x", "y")])),
    "YAML block": lambda name, secret: REDACTOR.text(f"{name}: |\n  {secret}\n  {secret}\nport: 80\n"),
    "YAML list": lambda name, secret: REDACTOR.text(f"{name}:\n  - {secret}\n  - {secret}\nport: 80\n"),
    "element": lambda name, secret: REDACTOR.text(f"<{name}>{secret}</{name}>"),
    "several lines": lambda name, secret: REDACTOR.text(f'{name}="first line\n{secret}\n"\nport=80\n'),
    "name and value": lambda name, secret: json.dumps(REDACTOR.nested([{"name": name, "value": secret}])),
    "pairs": lambda name, secret: json.dumps(REDACTOR.nested({"env": [["HOST", "x"], [name, secret]]})),
}
WEAK = {"key", "auth", "signature", "sig", "salt", "pass"}


def assert_gone(secret: str, shown: str, where: str) -> None:
    for piece in pieces(secret):
        assert piece not in shown, f"{where}: {piece!r} of {secret!r} in {shown!r}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_shape_survives(place: str, seed: int) -> None:
    """Whatever has an issuer's shape is gone, to the last eight characters."""
    for shape, secret in planted(seed):
        assert_gone(secret, PLACES[place](secret), shape)


@pytest.mark.parametrize("place", NAMED_PLACES)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_named_value_survives(place: str, seed: int) -> None:
    """Whatever stands under the name of a secret is gone."""
    for name, secret in planted_under_names(seed):
        assert_gone(secret, NAMED_PLACES[place](name, secret), name)


@pytest.mark.parametrize("place", STRONG_PLACES)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_value_of_a_secret_s_name_survives(place: str, seed: int) -> None:
    """Also where only the name can tell."""
    for name, secret in planted_under_names(seed):
        if name not in WEAK:
            assert_gone(secret, STRONG_PLACES[place](name, secret), name)


ADDRESSES = [
    "postgres://bob:{}@db.local:5432/shop",
    "postgresql+asyncpg://bob:{}@db/shop?sslmode=require",
    "mysql+pymysql://root:{}@127.0.0.1/x",
    "redis://:{}@cache:6379/0",
    "mongodb+srv://bob:{}@cluster0.x.mongodb.net/db",
    "amqp://guest:{}@mq:5672//",
    "https://bob:{}@example.com/path",
    "Server=db;Database=shop;User Id=sa;Password={};Encrypt=yes",
    "Driver={{x}};Server=db;Uid=sa;Pwd={};",
    "host=db user=bob password={} dbname=shop",
    "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={};EndpointSuffix=core.windows.net",
    "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}",
    "curl -u bob:{} https://example.com",
    "curl -H 'Authorization: Bearer {}' https://example.com",
    'curl --header "X-Api-Key: {}" https://example.com',
    "Authorization: Token {}",
    "Proxy-Authorization: Basic {}",
    'Authorization: Digest username="bob", realm="x", response="{}"',
    "{{'Cookie': 'theme=dark; sid={}'}}",
    "Set-Cookie: sid={}; Path=/; HttpOnly",
    "b'GET / HTTP/1.1\\r\\nAuthorization: Basic {}\\r\\nHost: x\\r\\n'",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=x&X-Amz-Signature={}&X-Amz-Date=1",
    "https://acme.blob.core.windows.net/c/b?sv=2022-11-02&se=2024-01-01&sr=b&sp=r&sig={}",
    "https://x/callback?state=a&access_token={}&user=bob",
    "https://x/login?next=%2Fa%3Ftoken%3D{}",
    "ALTER USER bob IDENTIFIED BY '{}'",
    "CREATE USER bob IDENTIFIED WITH mysql_native_password BY '{}'",
    "CREATE ROLE bob WITH LOGIN ENCRYPTED PASSWORD '{}'",
    "SET PASSWORD FOR 'bob'@'%' = PASSWORD('{}')",
    "UPDATE users SET password=crypt('{}', gen_salt('bf')) WHERE id=1",
    "SELECT * FROM users WHERE '{}' = password",
    "UPDATE `users` SET `password_hash` = '{}' WHERE id = 3",
    "UPDATE users SET password = 'it''s{}' WHERE id = 3",
    "[SQL: INSERT INTO users (name, password) VALUES (?, ?)]\n[parameters: ('bob', '{}')]",
    "[SQL: UPDATE users SET password=%s WHERE id = %s]\n[parameters: ('{}', 3)]",
    "[SQL: SELECT 1 FROM t WHERE token = ?]\n[parameters: {{'token_1': '{}'}}]",
    "DETAIL:  Key (email, token)=(a@b.c, {}) already exists.",
    "password: str = '{}'",
    "os.environ['API_SECRET'] = '{}'",
    "app --password \\\n  {} --verbose",
    "wrong password '{}' for bob",
]


@pytest.mark.parametrize("form", ADDRESSES)
def test_no_password_in_its_usual_places_survives(form: str) -> None:
    """DSNs, headers, cookies, signed URLs, statements."""
    for name, secret in planted_under_names(3):
        if name in {"twilio_auth_token", "signature"}:
            assert_gone(secret, REDACTOR.text(form.format(secret)), form)


def test_enough_is_planted() -> None:
    """A list that shrinks would make the tests above say nothing."""
    assert len(SHAPES) >= 70
    assert len(planted(1)) == len(SHAPES) * EACH >= 400
    assert len({secret for _, secret in planted(1)}) == len(planted(1))
    assert planted(1) == planted(1) != planted(2)
    assert len(planted_under_names(1)) == len(NAMED) * EACH


INNOCENT = """
123e4567-e89b-42d3-a456-426614174000
id=123e4567-e89b-42d3-a456-426614174000
key=123e4567-e89b-42d3-a456-426614174000
4be1f0c4be1f0c4be1f0c4be1f0c4be1f0c4be1f
commit 4be1f0c4be1f0c4be1f0c4be1f0c4be1f0c4be1f
commit=4be1f0c4b
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
etag: "9f86d081884c7d659a2feaa0c55ad015"
md5=9f86d081884c7d659a2feaa0c55ad015
time 1714982400123456789 ns
started_at=1714982400123456789
ts=1714982400.123
2024-05-06T10:00:00.123456+00:00
key=2024-05-06T10:00:00Z
[2024-05-06 10:00:00,123] INFO worker: started
order 1812 rejected
order_number=ORD-2024-000123
invoice INV-2024-0042 paid
token_count=3
token_count: 3
'token_count': 3
max_tokens=1000
prompt_tokens: 12, completion_tokens: 40, total_tokens: 52
{"usage": {"prompt_tokens": 12, "total_tokens": 52}}
tokenize(source)
token = tokenize(source)
tokens = tokenizer.encode(text)
tokenizer=gpt2
tokenizer: BertTokenizer
token_type=bearer
password_field='password'
cookie_path=/
session_timeout=30
session_timeout=30s
session = Session()
session=<requests.sessions.Session object at 0x7f0012>
<Session object at 0x7f3b8c1d2e50>
<sqlalchemy.orm.session.Session object at 0x7f3b8c1d2e50>
Session closed
the session expired
secretary=Jane
secretary: Jane Doe
author: Jane
author=Jane Austen
passenger=3
passengers: 12
compass=north
compass=north17x
turkey=9fJ2kQ8xLm3nR7vB
compassion
bypass=yes
passed=3 failed=0
12 passed, 3 failed
pass=12 fail=0
pass: 3
first_pass=ok
pass_through=True
key=customer_17
key=customer_1234567
key: order
key='user:17:profile'
key=shop.pricing.price_order
cache key: orders:2024-05-06
keys=['a', 'b']
KeyError: 'name'
KeyError: 'password'
KeyError: 17
keyboard=us
monkey=3
auth=None
auth: basic
auth=HTTPBasicAuth
code=404
code: 200
exit code=1
status_code=500
seed=42
seed=1714982400
salt=None
signature=(a, b)
signature: (self, value: int) -> str
license: MIT
license=Apache-2.0
nonce=1
primary key (id)
foreign key (customer_id) references customers(id)
Key (id)=(123e4567-e89b-42d3-a456-426614174000) already exists.
Key (email)=(jane@example.com) already exists.
192.168.0.1
10.0.0.1:8080
fe80::1ff:fe23:4567:890a
2001:0db8:85a3:0000:0000:8a2e:0370:7334
00:1A:2B:3C:4D:5E
http://localhost:8080/a?mail=a@b.com
http://localhost:8080/
https://example.com/orders/17?page=3&sort=name
https://example.com:8443/path#fragment
ssh://git@github.com/x/y
git@github.com:acme/shop.git
postgres://localhost:5432/shop
postgresql://bob@db.local/shop
redis://cache:6379/0
sqlite:///home/bob/shop.db
amqp://mq:5672//
s3://bucket/2024/05/06/part-00017.parquet
file:///srv/app/shop/store.py
jane.doe@example.com
Jane Doe <jane.doe@example.com>
mailto:jane@example.com
+49 1512 3456789
+1 (555) 010-9999
555-0199
ISBN 978-3-16-148410-0
isbn=9783161484100
EAN 4006381333930
DE89 3704 0044 0532 0130 00
iban: DE89370400440532013000
#ff8800
color: #1a2b3c
rgb(255, 136, 0)
Python 3.12.1
version 1.2.3
version=1.2.3rc1
numpy==1.26.4
narrative-auto>=0.1.0,<2
v1.2.3-4-g4be1f0c
linux-6.1.0-18-amd64-x86_64-with-glibc2.36
cp312-cp312-manylinux_2_17_x86_64
/srv/app/shop/store.py
/usr/lib/python3.12/site-packages/urllib3/connectionpool.py
C:\\Users\\bob\\orders.csv
../data/orders.csv
PWD=/home/bob/shop
File "/srv/app/shop/store.py", line 31, in insert
  File "/srv/app/shop/tokens.py", line 17, in read_tokens
    self.db.execute(INSERT, row)
    raise ImportFailed(f"order {order.id} rejected") from error
Traceback (most recent call last):
TokenError: EOF in multi-line statement
ValueError: invalid literal for int() with base 10: 'x'
TypeError: missing 1 required positional argument: 'token'
TypeError: f() got an unexpected keyword argument 'password'
SyntaxError: invalid syntax (app.py, line 3)
ModuleNotFoundError: No module named 'secrets'
UNIQUE constraint failed: orders.id
UNIQUE constraint failed: users.password
no such column: token
SELECT id, name FROM customers WHERE name = 'Jane' AND city IN ('Berlin', 'Rome')
SELECT password FROM users WHERE id = 3
SELECT token, count(*) FROM t GROUP BY token
INSERT INTO orders (id, customer, item) VALUES (17, 'Jane', 'tea')
INSERT INTO users (name, password) VALUES (?, ?)
INSERT INTO users (name, password) VALUES (%s, %s)
UPDATE orders SET status = 'paid' WHERE id = 17
UPDATE users SET password = ? WHERE id = ?
DELETE FROM sessions WHERE id = 3
CREATE TABLE users (id INTEGER PRIMARY KEY, password TEXT NOT NULL)
ALTER TABLE users ADD COLUMN token VARCHAR(64)
[SQL: INSERT INTO orders (id, item) VALUES (?, ?)]\\n[parameters: (17, 'tea')]
password=None
password: None
password=***
password='%s'
token=%s
token={token}
token={self.token!r}
token=$TOKEN_PLACEHOLDER_NOT
token: str
def login(user: str, password: str) -> None:
session: Session | None
Optional[Token]
Bearer of bad news
basic authentication
Basic usage: app.py FILE
the token is invalid
invalid token
unexpected token 'else'
cookies enabled
4111111111111112
1234567890123456
0.4111111111111111
3.141592653589793
6.02214076e23
-0.0001
1e-9
17 of 3000
99.9 %
12.5 ms
1,234,567 rows
task-1234567890abcdefghijkl
worker-3
pod/shop-7d9f8b6c5-x2x4z
i-0abcd1234ef567890
ami-0abcd1234ef567890
arn:aws:s3:::bucket/path
arn:aws:iam::123456789012:role/shop
us-east-1
job_17/attempt_3
celery@worker-1.local
OrderRejectedError
shop.store.ImportFailed: order 1812 rejected
AbstractSingletonProxyFactoryBean
HttpResponseRedirectBaseHandler
django.contrib.sessions.backends.cached_db
SESSION_ENGINE=django.contrib.sessions.backends.db
numpy.ndarray[float64, (1000, 17)]
sk-learn-contrib-imbalanced-learning
skip_this_long_test_name_with_words
test_something_that_is_rather_long_and_has_words
-u 1000:1000
docker run --user 1000:1000 image
ls -la
app.py --verbose --limit 3
--token-limit 17
Content-Type: application/json; charset=utf-8
Content-Length: 1234
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0)
Accept: text/html,application/xhtml+xml
Host: example.com:8080
X-Request-Id: 123e4567-e89b-42d3-a456-426614174000
GET /orders/17 HTTP/1.1
200 OK
-----BEGIN CERTIFICATE-----
-----BEGIN PUBLIC KEY-----
ssh-ed25519
{'id': 3, 'name': 'bob', 'rows': [1, 2, 3]}
Order(id=17, customer='Jane', item='tea', price=Decimal('3.50'))
[Point(x=1, y=2), Point(x=3, y=4)]
<Order 17: tea>
<module 'shop.store' from '/srv/app/shop/store.py'>
datetime.datetime(2024, 5, 6, 10, 0, tzinfo=datetime.timezone.utc)
geladen: 3 Zeilen für Müller
注文 17 を拒否しました
""".strip().split("\n")

NOT_INNOCENT = {"token=$TOKEN_PLACEHOLDER_NOT", "password='%s'"}
INNOCENT = [text for text in INNOCENT if text not in NOT_INNOCENT]


def test_there_are_enough_look_alikes() -> None:
    """As above."""
    assert len(set(INNOCENT)) == len(INNOCENT) >= 150


@pytest.mark.parametrize("text", INNOCENT)
def test_look_alikes_stay(text: str) -> None:
    """What is no secret stays as it is, in any text, in a value, and after secrets were remembered."""
    assert REDACTOR.text(text) == text
    assert REDACTOR.nested({"value": [text]}) == {"value": [text]}
    learned = REDACTOR.remembering()
    learned.text("password=hunter2 token=password secret=/srv/app user_token=1714982400 cookie=customer session=orders")
    assert learned.text(text) == text


def test_look_alikes_stay_among_each_other() -> None:
    """One does not make a secret of the next."""
    text = "\n".join(INNOCENT)
    assert REDACTOR.text(text) == text
