"""Finds the keys and tokens that issuers give a shape, so that scanners can find them."""

from __future__ import annotations

import re

from narrative_auto.failures.pattern import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from narrative_auto.failures.shapes import Span

# Only texts with a word as long as this are looked at: no shape below is shorter. The length holds for the fast path of
# `redaction` too.
_LONG_WORD = lazily(r"[A-Za-z0-9_.~+/=:@%$|-]{15,}+")

# What a token begins with, and what follows. The beginnings are looked for as plain texts, so that few of the patterns
# are ever compiled. Every repetition is possessive or has an upper bound, so that no text makes a search worse than
# linear (times the bound).
_ANYWHERE = (
    ("gho_ ghp_ ghs_ ghu_ ghr_", r"[A-Za-z0-9]{20,255}+"),  # GitHub
    ("github_pat_", r"\w{20,255}+"),
    (
        "glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glagent- glimt- gloas- glffct-",  # GitLab
        r"[\w.-]{20,320}+",
    ),
    ("GR1348941", r"[\w-]{20,60}+"),  # GitLab's older runners
    ("xox", r"[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,255}+"),  # Slack
    ("xapp- xwfp-", r"[A-Za-z0-9-]{20,255}+"),
    ("hooks.slack.com/", r"(?:services|workflows|triggers)/[\w/]{20,255}+"),
    ("AIza", r"[\w-]{30,255}+"),  # Google
    ("GOCSPX-", r"[\w-]{20,255}+"),
    ("pypi-", r"[\w-]{50,2000}+"),
    ("AGE-SECRET-KEY-1", r"[A-Z0-9]{20,255}+"),
    ("discord.com/api/ discordapp.com/api/", r"(?:v[0-9]{1,2}/)?webhooks/[0-9]{10,30}/[\w-]{20,255}+"),
)
"""What is told by its beginning alone, even where it stands in the midst of a word."""

_AT_START_OF_WORD = (
    ("AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}(?![A-Z0-9])"),  # AWS access keys
    ("A3T", r"[A-Z0-9]{17}(?![A-Z0-9])"),
    ("ABSK", r"[A-Za-z0-9+/]{100,400}+={0,2}"),  # AWS Bedrock
    ("sk-", r"(?=[A-Za-z_-]{0,200}+[0-9])[\w-]{20,255}+"),  # OpenAI, Anthropic: a digit, unlike words
    ("pk_ rk_ sk_", r"(?:live|test|prod)_[A-Za-z0-9]{10,255}+"),  # Stripe
    ("whsec_", r"[A-Za-z0-9+/=]{20,255}+"),
    ("sq0", r"[a-z]{3}-[\w-]{20,60}+"),  # Square
    ("EAAA", r"[\w-]{56,80}+"),
    ("access_token$", r"(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),  # PayPal, Braintree
    ("sandbox_ production_", r"(?=[a-z_]{0,24}+[0-9])[a-z0-9]{8}_[a-z0-9]{16}(?!\w)"),
    ("SK AC", r"[a-f0-9]{32}(?![A-Za-z0-9])"),  # Twilio
    ("key-", r"[a-f0-9]{32}(?![A-Za-z0-9])"),  # Mailgun
    ("SG.", r"[\w-]{16,255}+\.[\w-]{16,255}+"),  # SendGrid
    ("mfa.", r"[\w-]{80,100}+"),  # Discord
    ("ya29.", r"[\w-]{20,2000}+"),  # Google OAuth
    ("1//0", r"[\w-]{30,255}+"),
    ("hf_ api_org_", r"[A-Za-z0-9]{30,255}+"),  # Hugging Face
    ("npm_", r"[A-Za-z0-9]{30,255}+"),  # registries
    ("rubygems_", r"[a-f0-9]{48}"),
    ("dckr_oat_ dckr_pat_", r"[\w-]{20,255}+"),
    ("CLOJARS_", r"[a-z0-9]{60}"),
    ("AKCp", r"[A-Za-z0-9]{66,80}+"),
    ("cmVmd", r"[A-Za-z0-9]{59}"),
    ("dapi", r"[a-f0-9]{32}(?:-[0-9])?"),  # Databricks
    ("doo_v1_ dop_v1_ dor_v1_", r"[a-f0-9]{40,255}+"),  # DigitalOcean
    ("lin_api_ lin_oauth_", r"[A-Za-z0-9]{30,255}+"),  # Linear
    ("secret_", r"[A-Za-z0-9]{43}(?![A-Za-z0-9])"),  # Notion
    ("ntn_", r"[A-Za-z0-9]{40,60}+"),
    ("NR", r"(?:AK|JS|AA|BR|SP|RA|I[IQ])-[\w-]{19,60}+"),  # New Relic
    ("glsa_", r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),  # Grafana
    ("glc_", r"[A-Za-z0-9+/]{32,400}+={0,3}"),
    ("eyJrIjoi", r"[A-Za-z0-9+/]{40,400}+={0,3}"),
    ("shpat_ shpca_ shppa_ shpss_ shptka_ shpua_", r"[a-fA-F0-9]{32}"),  # Shopify
    ("hvb. hvs. hvr.", r"[\w-]{20,2000}+"),  # Vault
    ("b. s.", r"(?=[A-Za-z]{0,23}+[0-9])[A-Za-z0-9]{24}(?![\w.])"),
    ("pul-", r"[a-f0-9]{40}"),  # Pulumi
    ("PMAK-", r"[A-Za-z0-9]{24}-[A-Za-z0-9]{34}"),  # Postman
    ("sntrys_ sntryu_", r"[A-Za-z0-9+/=_]{40,1000}+"),  # Sentry
    ("dp.", r"(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]{1,40}\.)?[A-Za-z0-9]{32,64}+"),  # Doppler
    ("fo1_", r"[\w-]{20,255}+"),  # Fly
    ("fm1 fm2", r"[ar]?_[\w+/=-]{20,2000}+"),
    ("ATATT ATCTT ATSTT ATBB ARTT", r"3?[\w=-]{24,400}+"),  # Atlassian
    ("pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{64}"),  # Airtable
    ("LTAI", r"[A-Za-z0-9]{16,30}+"),  # Alibaba
    ("AKID", r"[A-Za-z0-9]{32}"),  # Tencent
    ("CCIPAT_ CCIPRJ_", r"[A-Za-z0-9]{22}_[a-f0-9]{40}"),  # CircleCI
    ("v1.0-", r"[a-f0-9]{24}-[a-f0-9]{146}"),  # Cloudflare
    ("CFPAT-", r"[\w-]{43}"),
    ("duffel_test_ duffel_live_", r"[\w-]{43}"),
    ("dt0", r"[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    ("EZAK EZTK", r"[A-Za-z0-9]{54}"),
    ("EAAM EAAC", r"[A-Za-z0-9]{80,255}+"),
    ("FLWSECK FLWPUBK", r"(?:_TEST)?-[A-Za-z0-9-]{12,60}+"),
    ("fio-u-", r"[\w=-]{64}"),
    ("pat-", r"[a-z]{2}[0-9]-[a-f0-9-]{36}"),
    ("ico-", r"[A-Za-z0-9]{32}"),
    ("live_ test_", r"[a-f0-9]{35}"),
    ("nfp_", r"[A-Za-z0-9]{36,60}+"),
    ("API-", r"[A-Z0-9]{26}(?![A-Z0-9])"),
    ("sha256~", r"[\w-]{43}"),
    ("pplx-", r"[A-Za-z0-9]{40,60}+"),
    ("pscale_tkn_ pscale_oauth_ pscale_pw_", r"[\w.=-]{32,64}+"),
    ("pnu_", r"[A-Za-z0-9]{36}"),
    ("rdme_", r"[a-z0-9]{70}"),
    ("r8_", r"[A-Za-z0-9]{37}"),
    ("gsk_", r"[A-Za-z0-9]{48,60}+"),
    ("xai-", r"[A-Za-z0-9]{70,100}+"),
    ("tk-us-", r"[\w-]{48}"),
    ("xkeysib-", r"[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("shippo_live_ shippo_test_", r"[a-f0-9]{40}"),
    ("sqa_ sqp_ squ_", r"[a-f0-9]{40}"),
    ("sgp_", r"(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}"),
    ("sbp_", r"[a-f0-9]{40}"),
    ("sb_secret_", r"[\w-]{20,60}+"),
    ("tfp_", r"[\w.=-]{59}"),
    ("tskey-", r"[a-z]{2,12}-[A-Za-z0-9-]{20,100}+"),
    ("figd_ figo_", r"[\w-]{40,60}+"),
    ("ops_eyJ", r"[A-Za-z0-9+/=]{100,2000}+"),
    ("bkua_", r"[a-f0-9]{40}"),
    ("lsv2_pt_ lsv2_sk_", r"[a-f0-9_]{32,60}+"),
    ("AQVN", r"[\w-]{35,38}"),
    ("PMAT-", r"[A-Z0-9]{26}"),
    ("p8e-", r"[A-Za-z0-9]{32}"),
    ("HRKU-", r"[\w-]{36,80}+"),
    ("sdk- mob-", r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"),  # LaunchDarkly
    ("A3-", r"[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){2,3}"),  # 1Password
    ("4b1d", r"[A-Za-z0-9]{38}(?![A-Za-z0-9])"),  # ClickHouse
    ("sc_ ext_ scauth_ authress_", r"[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[\w+/=-]{30,120}+"),
    ("pat. sat.", r"[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}"),  # Harness
    ("s-s4t2ud- s-s4t2af-", r"[a-f0-9]{64}"),
    ("sm_aat_ sm_pat_ sm_sat_", r"[A-Za-z0-9]{16}"),
    ("dnkey-", r"[\w=-]{26}-[\w=-]{52}"),
    (
        "access-sandbox- access-development- access-production-",
        r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    ),
    ("sl.", r"[\w=-]{130,1000}+"),  # Dropbox
    ("AAAAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{80,120}+"),  # Twitter
    ("t1.", r"[\w-]{1,200}={0,2}\.[\w-]{86}={0,2}"),  # Yandex
    ("eyJ", r"[\w-]{8,4096}+\.[\w-]{8,}+(?:\.[\w-]*+){0,3}+"),  # JSON web tokens begin with '{"'
    ("ZXlK", r"[\w+/-]{40,4096}+={0,2}"),  # a JSON web token in base64
)
"""What is told by its beginning at the start of a word."""

_WITHIN = (
    ("-", r"[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}(?![A-Za-z0-9-])"),  # Mailgun
    ("-us", r"[a-f0-9]{32}-us[0-9]{1,2}(?![A-Za-z0-9])"),  # Mailchimp
    (".", r"[MNO](?=[A-Za-z_-]{0,26}+[0-9])[A-Za-z0-9_-]{23,27}\.[\w-]{6}\.[\w-]{27,40}+"),  # Discord
    ("NRAL", r"[a-f0-9]{36}NRAL"),  # New Relic
    (":A", r"[0-9]{8,10}:A[A-Z][\w-]{30,255}+"),  # Telegram bots
    (".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}+"),  # Terraform
    ("Q~", r"[\w~.-]{3}[0-9]Q~[\w~.-]{31,34}+"),  # Azure
    ("AZDO", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),
    ("|", r"[0-9]{15,16}\|[\w-]{27,40}+"),  # Facebook
    ("%7", r"[0-9]{15,16}%7[Cc][\w-]{27,40}+"),
    ("_mmk", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    (".webhook.office.com/", r"[\w-]{1,63}\.webhook\.office\.com/webhookb2/[\w@/=-]{20,500}+"),
)
"""What has no beginning of its own: a part of it, and the whole."""

# In JSON and in `repr`, "\n" and its like end in a letter; in a URL, an escape may end in a digit or letter.
_START = r"(?<! [A-Za-z0-9] (?<!\\[nrt]) (?<!%[0-9A-Fa-f]{2}) )"
_AT_START = lazily(_START, re.VERBOSE | re.ASCII)

_BEGINNINGS = [
    (beginning, lazily(rest, re.ASCII), at_start)
    for shapes, at_start in ((_ANYWHERE, False), (_AT_START_OF_WORD, True))
    for beginnings, rest in shapes
    for beginning in beginnings.split()
]
_WHOLES = [(part, lazily(f"(?x:{_START}){whole}", re.ASCII)) for part, whole in _WITHIN]


def token_spans(text: str) -> Iterator[Span]:
    """Give where a text has keys and tokens that issuers have given a shape; in no order, they may overlap.

    Args:
        text: any text; the caller bounds its length.
    """
    words = [word.span() for word in _LONG_WORD.finditer(text)]
    if not words:
        return
    for beginning, rest, at_start in [one for one in _BEGINNINGS if one[0] in text]:
        start = text.find(beginning)
        while start >= 0:
            if not at_start or _AT_START.match(text, start):
                found = rest.match(text, start + len(beginning))
                if found:
                    yield start, found.end()
                    start = found.end() - 1
            start = text.find(beginning, start + 1)
    for part, whole in _WHOLES:
        if part in text:
            for first, last in words:
                for found in whole.finditer(text, first, last):
                    yield found.span()
