"""Finds the keys and tokens that issuers give a shape, so that scanners can find them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from narrative_auto.failures.pattern import lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from narrative_auto.failures.shapes import Span

# Only words as long as these are looked at: no shape below is shorter than the first, and prose has few of them. The
# lengths hold for the fast path of `redaction` too.
_LONG_WORD = lazily(r"[A-Za-z0-9_.~+/=:@%$|-]{15,}+")

# Every repetition below is possessive or has an upper bound, so that no text makes a search worse than linear (times
# the bound).
_DISTINCT = lazily(
    r"""
      gh[opsur]_ [A-Za-z0-9]{20,255}+ | github_pat_ \w{20,255}+           # GitHub
    | gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt|oas|ffct)- [\w.-]{20,320}+  # GitLab
    | xox[a-z](?:\.xox[a-z])?- [A-Za-z0-9-]{10,255}+ | x(?:app|wfp)- [A-Za-z0-9-]{20,255}+  # Slack
    | AIza [\w-]{30,255}+ | GOCSPX- [\w-]{20,255}+                         # Google
    | pypi- [\w-]{50,2000}+                                                # PyPI
    | GR1348941 [\w-]{20,60}+                                              # GitLab's older runners
    | AGE-SECRET-KEY-1 [A-Z0-9]{20,255}+                                   # age
    | hooks\.slack\.com/(?:services|workflows|triggers)/ [\w/]{20,255}+
    | discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/ [0-9]{10,30}/ [\w-]{20,255}+
    | [\w-]{1,60}\.webhook\.office\.com/webhookb2/ [\w@/=-]{20,500}+
    """,
    re.VERBOSE | re.ASCII,
)
"""What is told by its prefix alone, even where it stands in the midst of a word."""

# In JSON and in `repr`, "\n" and its like end in a letter; in a URL, an escape may end in a digit or letter.
_AT_START = r"(?<! [A-Za-z0-9] (?<!\\[nrt]) (?<!%[0-9A-Fa-f]{2}) )"

_AT_START_OF_WORD = rf"""
    {_AT_START}
    (?: (?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA) [A-Z0-9]{{16}} (?![A-Z0-9])    # AWS access keys
    | ABSK [A-Za-z0-9+/]{{100,400}}+ ={{0,2}}                              # AWS Bedrock
    | sk- (?=[A-Za-z_-]{{0,200}}+[0-9]) [\w-]{{20,255}}+                   # OpenAI, Anthropic: a digit, unlike words
    | [prs]k_(?:live|test|prod)_ [A-Za-z0-9]{{10,255}}+ | whsec_ [A-Za-z0-9+/=]{{20,255}}+         # Stripe
    | sq0[a-z]{{3}}- [\w-]{{20,60}}+ | EAAA [\w-]{{56,80}}+                # Square
    | access_token\$(?:production|sandbox)\$[a-z0-9]{{16}}\$[a-f0-9]{{32}} # PayPal, Braintree
    | (?:sandbox|production)_ (?=[a-z_]{{0,24}}+[0-9]) [a-z0-9]{{8}}_[a-z0-9]{{16}} (?!\w)
    | (?:SK|AC) [a-f0-9]{{32}} (?![A-Za-z0-9])                             # Twilio
    | key- [a-f0-9]{{32}} (?![A-Za-z0-9])                                  # Mailgun
    | [a-f0-9]{{32}}- [a-f0-9]{{8}}- [a-f0-9]{{8}} (?![A-Za-z0-9-])
    | [a-f0-9]{{32}}-us[0-9]{{1,2}} (?![A-Za-z0-9])                        # Mailchimp
    | SG\. [\w-]{{16,255}}+ \. [\w-]{{16,255}}+                            # SendGrid
    | [MNO](?=[A-Za-z_-]{{0,26}}+[0-9])[A-Za-z0-9_-]{{23,27}} \. [\w-]{{6}} \. [\w-]{{27,40}}+          # Discord
    | mfa\. [\w-]{{80,100}}+
    | ya29\. [\w-]{{20,2000}}+ | 1//0 [\w-]{{30,255}}+                     # Google OAuth
    | (?:hf|api_org)_ [A-Za-z0-9]{{30,255}}+                               # Hugging Face
    | npm_ [A-Za-z0-9]{{30,255}}+ | rubygems_ [a-f0-9]{{48}} | dckr_[op]at_ [\w-]{{20,255}}+       # registries
    | CLOJARS_ [a-z0-9]{{60}} | AKCp [A-Za-z0-9]{{66,80}}+ | cmVmd [A-Za-z0-9]{{59}}
    | dapi [a-f0-9]{{32}} (?:-[0-9])?                                      # Databricks
    | do[opr]_v1_ [a-f0-9]{{40,255}}+                                      # DigitalOcean
    | lin_(?:api|oauth)_ [A-Za-z0-9]{{30,255}}+                            # Linear
    | secret_ [A-Za-z0-9]{{43}} (?![A-Za-z0-9]) | ntn_ [A-Za-z0-9]{{40,60}}+                       # Notion
    | NR(?:AK|JS|AA|BR|SP|RA|I[IQ])- [\w-]{{19,60}}+ | [a-f0-9]{{36}}NRAL                          # New Relic
    | glsa_ [A-Za-z0-9]{{32}} _ [A-Fa-f0-9]{{8}} | glc_ [A-Za-z0-9+/]{{32,400}}+ ={{0,3}}          # Grafana
    | eyJrIjoi [A-Za-z0-9+/]{{40,400}}+ ={{0,3}}
    | shp(?:at|ca|pa|ss|tka|ua)_ [a-fA-F0-9]{{32}}                         # Shopify
    | [0-9]{{8,10}}:A[A-Z] [\w-]{{30,255}}+                                # Telegram bots
    | hv[bsr]\. [\w-]{{20,2000}}+ | [bs]\. (?=[A-Za-z]{{0,23}}+[0-9]) [A-Za-z0-9]{{24}} (?![\w.])  # Vault
    | [A-Za-z0-9]{{14}}\.atlasv1\. [\w=-]{{60,70}}+                        # Terraform
    | pul- [a-f0-9]{{40}}                                                  # Pulumi
    | PMAK- [A-Za-z0-9]{{24}}- [A-Za-z0-9]{{34}}                           # Postman
    | sntry[su]_ [A-Za-z0-9+/=_]{{40,1000}}+                               # Sentry
    | dp\.(?:pt|st|ct|sa|scim|audit)\. (?:[\w-]{{1,40}}\.)? [A-Za-z0-9]{{32,64}}+                  # Doppler
    | fo1_ [\w-]{{20,255}}+ | fm[12][ar]?_ [\w+/=-]{{20,2000}}+            # Fly
    | A(?:TATT|TCTT|TSTT|TBB|RTT)3? [\w=-]{{24,400}}+                      # Atlassian
    | pat[A-Za-z0-9]{{14}}\.[a-f0-9]{{64}}                                 # Airtable
    | LTAI [A-Za-z0-9]{{16,30}}+ | AKID [A-Za-z0-9]{{32}}                  # Alibaba, Tencent
    | [\w~.-]{{3}} [0-9]Q~ [\w~.-]{{31,34}}+ | [A-Za-z0-9]{{76}}AZDO[A-Za-z0-9]{{4}}               # Azure
    | CCI(?:PAT|PRJ)_ [A-Za-z0-9]{{22}}_[a-f0-9]{{40}}                     # CircleCI
    | v1\.0-[a-f0-9]{{24}}-[a-f0-9]{{146}}                                 # Cloudflare
    | CFPAT- [\w-]{{43}} | duffel_(?:test|live)_ [\w-]{{43}} | dt0[a-z][0-9]{{2}}\.[A-Z0-9]{{24}}\.[A-Z0-9]{{64}}
    | EZ[AT]K [A-Za-z0-9]{{54}} | EAA[MC] [A-Za-z0-9]{{80,255}}+ | FLW(?:SEC|PUB)K(?:_TEST)?- [A-Za-z0-9-]{{12,60}}+
    | fio-u- [\w=-]{{64}} | pat-[a-z]{{2}}[0-9]- [a-f0-9-]{{36}} | ico- [A-Za-z0-9]{{32}} | (?:live|test)_[a-f0-9]{{35}}
    | nfp_ [A-Za-z0-9]{{36,60}}+ | API-[A-Z0-9]{{26}} (?![A-Z0-9]) | sha256~ [\w-]{{43}} | pplx- [A-Za-z0-9]{{40,60}}+
    | pscale_(?:tkn|oauth|pw)_ [\w.=-]{{32,64}}+ | pnu_ [A-Za-z0-9]{{36}} | rdme_ [a-z0-9]{{70}} | r8_ [A-Za-z0-9]{{37}}
    | gsk_ [A-Za-z0-9]{{48,60}}+ | xai- [A-Za-z0-9]{{70,100}}+ | tk-us- [\w-]{{48}}
    | xkeysib- [a-f0-9]{{64}}-[A-Za-z0-9]{{16}}
    | shippo_(?:live|test)_ [a-f0-9]{{40}} | sq[pua]_ [a-f0-9]{{40}} | sgp_ (?:[a-f0-9]{{16}}_|local_)? [a-f0-9]{{40}}
    | sbp_ [a-f0-9]{{40}} | sb_secret_ [\w-]{{20,60}}+ | tfp_ [\w.=-]{{59}}
    | tskey-[a-z]{{2,12}}- [A-Za-z0-9-]{{20,100}}+
    | fig[do]_ [\w-]{{40,60}}+ | ops_eyJ [A-Za-z0-9+/=]{{100,2000}}+ | bkua_ [a-f0-9]{{40}}
    | lsv2_(?:pt|sk)_ [a-f0-9_]{{32,60}}+
    | AQVN [\w-]{{35,38}} | PMAT- [A-Z0-9]{{26}} | p8e- [A-Za-z0-9]{{32}} | HRKU- [\w-]{{36,80}}+
    | (?:sdk|mob)- [a-f0-9]{{8}}-[a-f0-9]{{4}}-[a-f0-9]{{4}}-[a-f0-9]{{4}}-[a-f0-9]{{12}}          # LaunchDarkly
    | A3-[A-Z0-9]{{6}}- (?:[A-Z0-9]{{11}} | [A-Z0-9]{{6}}-[A-Z0-9]{{5}}) (?:-[A-Z0-9]{{5}}){{2,3}}  # 1Password
    | 4b1d [A-Za-z0-9]{{38}} (?![A-Za-z0-9])                                # ClickHouse
    | (?:sc|ext|scauth|authress)_ [a-z0-9]{{5,30}} \.[a-z0-9]{{4,6}}\.acc[_-] [a-z0-9-]{{10,32}} \. [\w+/=-]{{30,120}}+
    | [0-9]{{15,16}} (?:\||%7[Cc]) [\w-]{{27,40}}+                         # Facebook
    | (?:pat|sat)\. [\w-]{{22}} \.[A-Za-z0-9]{{24}}\.[A-Za-z0-9]{{20}}    # Harness
    | s-s4t2(?:ud|af)- [a-f0-9]{{64}} | [A-Za-z0-9]{{6}}_[A-Za-z0-9]{{29}}_mmk
    | sm_(?:aat|pat|sat)_ [A-Za-z0-9]{{16}} | dnkey- [\w=-]{{26}}-[\w=-]{{52}}
    | access-(?:sandbox|development|production)- [a-f0-9]{{8}}-[a-f0-9]{{4}}-[a-f0-9]{{4}}-[a-f0-9]{{4}}-[a-f0-9]{{12}}
    | sl\. [\w=-]{{130,1000}}+ | A{{22}} [A-Za-z0-9%]{{80,120}}+           # Dropbox, Twitter
    | t1\. [\w-]{{1,200}} ={{0,2}} \. [\w-]{{86}} ={{0,2}}                # Yandex
    | ZXlK [\w+/-]{{40,4096}}+ ={{0,2}}                                     # a JSON web token in base64
    | eyJ [\w-]{{8,4096}}+ \. [\w-]{{8,}}+ (?: \. [\w-]*+ ){{0,3}}+        # JSON web tokens begin with '{{"'
    )
"""
_DELIMITED = lazily(_AT_START_OF_WORD, re.VERBOSE | re.ASCII)
"""What stands at the start of a word."""


def token_spans(text: str) -> Iterator[Span]:
    """Give where a text has keys and tokens that issuers have given a shape; in no order, they may overlap.

    Args:
        text: any text; the caller bounds its length.
    """
    for word in _LONG_WORD.finditer(text):
        for shapes in (_DISTINCT, _DELIMITED):
            for found in shapes.finditer(text, word.start(), word.end()):
                yield found.span()
