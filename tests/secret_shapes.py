"""Made-up secrets of the shapes that issuers give, for planting; none of them was ever issued."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable

HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"
BASE64 = ALNUM + "+/"

EACH = 6
"""Secrets of each shape."""

Make = Callable[[random.Random], str]


def _some(alphabet: str, length: int) -> Make:
    def make(source: random.Random) -> str:
        while True:
            # A generator's own characters are both letters and digits in all but one of thousands.
            text = "".join(source.choice(alphabet) for _ in range(length))
            if text[0] not in "-_+/" and text[-1] not in "-_+/" and not text.isalpha() and not text.isdigit():
                return text

    return make


def _form(form: str, *parts: Make) -> Make:
    return lambda source: form.format(*(part(source) for part in parts))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _jwt(source: random.Random) -> str:
    header = _base64(b'{"alg":"HS256","typ":"JWT"}')
    payload = _base64(json.dumps({"sub": str(source.randrange(10**9)), "iat": source.randrange(10**9)}).encode())
    return f"{header}.{payload}.{_some(URL_SAFE, 43)(source)}"


def _block(kind: str, lines: int, line_end: str = "\n") -> Make:
    def make(source: random.Random) -> str:
        body = [_some(BASE64, 64)(source) for _ in range(lines)] + [_some(BASE64, 40)(source) + "=="]
        return line_end.join([f"-----BEGIN {kind}-----", *body, f"-----END {kind}-----"])

    return make


def _card(source: random.Random) -> str:
    digits = [source.choice([4, 5])] + [source.randrange(10) for _ in range(14)]
    total = sum(
        digit if place % 2 else (digit * 2 - 9 if digit > 4 else digit * 2) for place, digit in enumerate(digits)
    )
    number = "".join(map(str, [*digits, -total % 10]))
    return source.choice([number, " ".join(number[at : at + 4] for at in range(0, 16, 4))])


def _discord(source: random.Random) -> str:
    number = base64.b64encode(str(source.randrange(2 * 10**17, 9 * 10**17)).encode()).decode()
    return f"{number}.{_some(URL_SAFE, 6)(source)}.{_some(URL_SAFE, 38)(source)}"


def _digits(length: int) -> Make:
    return lambda source: str(source.randrange(10 ** (length - 1), 10**length))


SHAPES: dict[str, Make] = {
    "AWS access key": _form("AKIA{}", _some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "AWS session key": _form("ASIA{}", _some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "GCP API key": _form("AIza{}", _some(URL_SAFE, 35)),
    "Google client secret": _form("GOCSPX-{}", _some(URL_SAFE, 28)),
    "Google access token": _form("ya29.{}", _some(URL_SAFE, 120)),
    "Google refresh token": _form("1//0{}", _some(URL_SAFE, 60)),
    "Azure client secret": _form("{}8Q~{}", _some(ALNUM, 3), _some(ALNUM + "._-", 34)),
    "GitHub personal": _form("ghp_{}", _some(ALNUM, 36)),
    "GitHub app": _form("ghs_{}", _some(ALNUM, 36)),
    "GitHub fine-grained": _form("github_pat_{}_{}", _some(ALNUM, 22), _some(ALNUM, 59)),
    "GitLab": _form("glpat-{}", _some(URL_SAFE, 20)),
    "GitLab runner": _form("glrt-{}", _some(URL_SAFE, 20)),
    "Slack bot": _form("xoxb-{}-{}-{}", _digits(12), _digits(12), _some(ALNUM, 24)),
    "Slack app": _form("xapp-1-A{}-{}-{}", _some(UPPER, 10), _digits(13), _some(HEX, 64)),
    "Slack webhook": _form("hooks.slack.com/services/T{}/B{}/{}", _some(UPPER, 9), _some(UPPER, 9), _some(ALNUM, 24)),
    "Discord bot": _discord,
    "Discord webhook": _form("discord.com/api/webhooks/{}/{}", _digits(18), _some(URL_SAFE, 68)),
    "Teams webhook": _form("acme.webhook.office.com/webhookb2/{}@{}", _some(HEX, 32), _some(HEX, 32)),
    "Stripe secret": _form("sk_live_{}", _some(ALNUM, 24)),
    "Stripe restricted": _form("rk_test_{}", _some(ALNUM, 24)),
    "Stripe webhook": _form("whsec_{}", _some(ALNUM, 32)),
    "Square": _form("sq0csp-{}", _some(URL_SAFE, 43)),
    "Square access": _form("EAAA{}", _some(URL_SAFE, 60)),
    "Braintree": _form("access_token$production${}${}", _some(LOWER, 16), _some(HEX, 32)),
    "Twilio key": _form("SK{}", _some(HEX, 32)),
    "SendGrid": _form("SG.{}.{}", _some(URL_SAFE, 22), _some(URL_SAFE, 43)),
    "Mailgun": _form("key-{}", _some(HEX, 32)),
    "Mailgun signing": _form("{}-{}-{}", _some(HEX, 32), _some(HEX, 8), _some(HEX, 8)),
    "Mailchimp": _form("{}-us12", _some(HEX, 32)),
    "OpenAI": _form("sk-{}T3BlbkFJ{}", _some(ALNUM, 20), _some(ALNUM, 20)),
    "OpenAI project": _form("sk-proj-{}", _some(URL_SAFE, 120)),
    "Anthropic": _form("sk-ant-api03-{}AA", _some(URL_SAFE, 93)),
    "Hugging Face": _form("hf_{}", _some(ALNUM, 34)),
    "Groq": _form("gsk_{}", _some(ALNUM, 52)),
    "Replicate": _form("r8_{}", _some(ALNUM, 37)),
    "npm": _form("npm_{}", _some(ALNUM, 36)),
    "PyPI": _form("pypi-AgEIcHlwaS5vcmc{}", _some(URL_SAFE, 80)),
    "RubyGems": _form("rubygems_{}", _some(HEX, 48)),
    "Docker Hub": _form("dckr_pat_{}", _some(URL_SAFE, 27)),
    "Databricks": _form("dapi{}", _some(HEX, 32)),
    "DigitalOcean": _form("dop_v1_{}", _some(HEX, 64)),
    "Linear": _form("lin_api_{}", _some(ALNUM, 40)),
    "Notion": _form("ntn_{}", _some(ALNUM, 46)),
    "Notion, older": _form("secret_{}", _some(ALNUM, 43)),
    "New Relic": _form("NRAK-{}", _some(UPPER, 27)),
    "Grafana service account": _form("glsa_{}_{}", _some(ALNUM, 32), _some(HEX, 8)),
    "Grafana cloud": _form("glc_{}", _some(ALNUM, 80)),
    "Grafana, older": _form("eyJrIjoi{}", _some(ALNUM, 80)),
    "Shopify": _form("shpat_{}", _some(HEX, 32)),
    "Telegram": _form("{}:AA{}", _digits(10), _some(URL_SAFE, 33)),
    "Vault": _form("hvs.{}", _some(URL_SAFE, 95)),
    "Terraform": _form("{}.atlasv1.{}", _some(ALNUM, 14), _some(ALNUM, 67)),
    "Pulumi": _form("pul-{}", _some(HEX, 40)),
    "Postman": _form("PMAK-{}-{}", _some(HEX, 24), _some(HEX, 34)),
    "Sentry": _form("sntrys_{}", _some(ALNUM, 120)),
    "Doppler": _form("dp.pt.{}", _some(ALNUM, 43)),
    "Fly": _form("fo1_{}", _some(URL_SAFE, 43)),
    "Atlassian": _form("ATATT3xFfGF0{}", _some(URL_SAFE, 170)),
    "Airtable": _form("pat{}.{}", _some(ALNUM, 14), _some(HEX, 64)),
    "CircleCI": _form("CCIPAT_{}_{}", _some(ALNUM, 22), _some(HEX, 40)),
    "HubSpot": lambda source: f"pat-na1-{uuid.UUID(int=source.getrandbits(128), version=4)}",
    "Netlify": _form("nfp_{}", _some(ALNUM, 36)),
    "PlanetScale": _form("pscale_tkn_{}", _some(URL_SAFE, 43)),
    "Sendinblue": _form("xkeysib-{}-{}", _some(HEX, 64), _some(ALNUM, 16)),
    "SonarQube": _form("sqp_{}", _some(HEX, 40)),
    "Sourcegraph": _form("sgp_{}", _some(HEX, 40)),
    "Supabase": _form("sbp_{}", _some(HEX, 40)),
    "Tailscale": _form("tskey-auth-{}-{}", _some(ALNUM, 12), _some(ALNUM, 32)),
    "Figma": _form("figd_{}", _some(URL_SAFE, 40)),
    "Dynatrace": _form("dt0c01.{}.{}", _some(UPPER, 24), _some(UPPER, 64)),
    "age": _form("AGE-SECRET-KEY-1{}", _some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)),
    "1Password": _form("A3-{}-{}-{}-{}", _some(UPPER, 6), _some(UPPER, 11), _some(UPPER, 5), _some(UPPER, 5)),
    "ClickHouse": _form("4b1d{}", _some(ALNUM, 38)),
    "Facebook": _form("{}|{}", _digits(16), _some(URL_SAFE, 30)),
    "GitLab runner, older": _form("GR1348941{}", _some(URL_SAFE, 20)),
    "Harness": _form("pat.{}.{}.{}", _some(URL_SAFE, 22), _some(ALNUM, 24), _some(ALNUM, 20)),
    "MaxMind": _form("{}_{}_mmk", _some(ALNUM, 6), _some(ALNUM, 29)),
    "SettleMint": _form("sm_pat_{}", _some(ALNUM, 16)),
    "Plaid": lambda source: f"access-production-{uuid.UUID(int=source.getrandbits(128), version=4)}",
    "Dropbox": _form("sl.{}", _some(URL_SAFE, 135)),
    "Twitter": _form("AAAAAAAAAAAAAAAAAAAAAA{}", _some(ALNUM, 90)),
    "Yandex": _form("t1.{}.{}", _some(URL_SAFE, 60), _some(URL_SAFE, 86)),
    "JSON web token": _jwt,
    "card number": _card,
    "RSA key": _block("RSA PRIVATE KEY", 5),
    "EC key": _block("EC PRIVATE KEY", 2),
    "PKCS#8 key": _block("PRIVATE KEY", 5),
    "SSH key": _block("OPENSSH PRIVATE KEY", 4),
    "PGP key": _block("PGP PRIVATE KEY BLOCK", 4),
    "RSA key on one line": _block("RSA PRIVATE KEY", 5, "\\n"),
}
"""What is recognised by itself, whatever is around it."""

NAMED: dict[str, Make] = {
    "password": _some(ALNUM + "!#%*", 14),
    "DB_PASSWORD": _some(ALNUM, 20),
    "password_hash": _form("pbkdf2:sha256:600000${}${}", _some(ALNUM, 16), _some(HEX, 64)),
    "passphrase": _some(ALNUM, 16),
    "aws_secret_access_key": _some(BASE64, 40),
    "aws_session_token": _some(BASE64, 200),
    "client_secret": _some(URL_SAFE, 40),
    "twilio_auth_token": _some(HEX, 32),
    "datadog_api_key": _some(HEX, 32),
    "heroku_api_key": lambda source: str(uuid.UUID(int=source.getrandbits(128), version=4)),
    "AccountKey": _form("{}==", _some(BASE64, 86)),
    "SharedAccessKey": _form("{}=", _some(BASE64, 43)),
    "refresh_token": _some(URL_SAFE, 48),
    "sessionid": _some(LOWER, 32),
    "csrftoken": _some(ALNUM, 64),
    "key": _some(ALNUM, 32),
    "auth": _some(ALNUM, 40),
    "signature": _some(HEX, 64),
    "sig": _some(URL_SAFE, 43),
    "salt": _some(ALNUM, 32),
    "pass": _some(ALNUM, 14),
}
"""What is recognised by the name that it stands under."""


def planted(seed: int) -> list[tuple[str, str]]:
    """Return (shape, secret) pairs, some of each shape, that are recognised wherever they stand."""
    source = random.Random(seed)
    return [(shape, make(source)) for shape, make in SHAPES.items() for _ in range(EACH)]


def planted_under_names(seed: int) -> list[tuple[str, str]]:
    """Return (name, secret) pairs, some of each name, that are recognised beside the name."""
    source = random.Random(seed)
    return [(name, make(source)) for name, make in NAMED.items() for _ in range(EACH)]


def pieces(secret: str) -> list[str]:
    """Return what may not survive of a secret: every eight characters in a row that are no words around a block."""
    body = secret
    if "-----BEGIN" in secret:
        body = "\n".join(line for line in secret.replace("\\n", "\n").split("\n") if "-----" not in line)
    return [body[at : at + 8] for at in range(len(body) - 7) if "\n" not in body[at : at + 8]]
