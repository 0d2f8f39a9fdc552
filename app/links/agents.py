"""What a user agent gives away: whether a program asks, of which sort, and on what sort of device.

Our own signatures come first. They are lower-case regular expressions, most of them plain words; a browser inside an
app (`… Instagram 389.0`, `[WA4A/2.25]`) is told from the app's own preview of a link (`WhatsApp/2.23.20.0 A`) by where
the word stands. The package `crawlerdetect` is asked for the rest, from its tables: its own search takes up to 20 ms for
a hostile agent, ours 0.4 ms. Agents lie, so that a person is never proven here; only some machines are.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from crawlerdetect.providers import crawlers, exclusions

Device = Literal["phone", "tablet", "desktop", "other"]
AgentReason = Literal[
    "no_agent", "preview_agent", "scanner_agent", "headless", "tool_agent", "crawler_agent", "not_a_browser"
]  # fmt: skip

#: What stands behind is not looked at, nor kept.
MAX_LENGTH = 512

#: Fetched to be shown beside the link in a chat, or in a post.
_PREVIEWS = (
    r"^whatsapp/", r"^viber/", r"^line/", r"^snapchat/", r"^instagram ", r"^signal-", r"^telegram", r"^discord", r"^slack",
    "googlemessages", "facebookexternalhit", "facebookexternalua", "facebookcatalog", "facebot", "meta-external",
    "twitterbot", "telegrambot", "slackbot", "slack-imgproxy", "discordbot", "linkedinbot", "skypeuripreview",
    "skypemessaging", "microsoftpreview", "bingpreview", "teamsbot", "viberbot", "line-poker", "linebot", "kakaotalk-scrap",
    "daumoa", "snap url preview", "pinterestbot", r"pinterest/0\.", "vkshare", "odklbot", "redditbot", r"^tumblr/", "embedly",
    "iframely", "flipboardproxy", "flipboardbrowserproxy", "quora link preview", "quora-bot", "yahoo link preview",
    "google-pagerenderer", "google web preview", "googleimageproxy", r"/\+/web/snippet", "mastodon", "misskey", "summalybot",
    "bluesky", "cardyb", "matrix-media-repo", r"synapse \(", r"^mattermost", "mattermost-bot", r"^rocket\.chat",
    "zulip", "wirelinkpreview",
    "wechatlink", "zaloshare", "zalobot", "applebot", "imessagebot", "linkpreview", "link preview", "link-preview",
    "linkexpand", "urlpreview", "url preview", "url-preview", "unfurl", "opengraph", "open graph", "richlink", "rich link",
    "metadataretriever", "metainspector", "onebox", "microlink", "bitlybot", "xing-contenttabreceiver", "outlookimageproxy",
    "yahoomailproxy",
)  # fmt: skip
#: Antivirus, mail and web gateways, carriers' filters. Browsers of antivirus makers (`Avast/120`, `Norton/…`) are none.
_SCANNERS = (
    "google-safety", "googlesafety", "safebrowsing", "safe-browsing", "safelinks", r"\bsafe links\b", "ms-office",
    "microsoft office", "microsoft outlook", "microsoft exchange", "microsoft url control", r"ms search \d", "defender",
    "smartscreen", "office 365 connectors", "proofpoint", "urldefense", "mimecast", "barracuda", r"cisco[- _]?umbrella",
    r"cisco[- _]?secure", r"cisco[- _]?ironport", r"cisco[- _]?talos", "ironport", r"palo[- ]?alto[- ]?net", "paloalto",
    r"^expanse", r"pan-?os\b", r"^cortex/", "xpanse", "symantec", "messagelabs", "norton[- ]?safe", "safeweb", "bluecoat",
    "blue coat", "webpulse", "kaspersky", r"\beset\b", r"trend ?micro", r"\btmes\b", r"\btmufe\b", r"avast!", "avast antivirus",
    r"avast[- _]?url", "avg antivirus", r"\blookout\b", r"bitdefender(?!.?safepay)", "sophos", "fortinet", "fortiguard",
    "fortimail", "mcafee", "trellix", "fireeye", "zscaler", "forcepoint", "websense",
    "trustwave", r"check ?point", "virustotal", "urlscan", "netcraft",
    "phishtank", "openphish", "cloudmark", "adaptivemobile", r"\benea\b", "vade ?secure", "vadebot", "spamhaus", "sucuri",
    r"dr\.web", "drweb", "f-secure", "withsecure", "avira scan", "avira urlcloud", "malwarebytes", "webroot", "brightcloud",
    "clamav", r"alibaba\.security", "alisecbot", "aliyunsecbot", "scmguard", "antispam", "anti-spam", "anti-virus",
    "antivirus", "linkscan", "link scan", "link checker", "linkcheck", "urlcheck", "url-check", "urlscanner", "linkprotect",
    "link protect", "phishing", "threatintel", "security scan", "security-scan", "securityscan", "censys", "shodan", "nuclei",
    "zgrab", "masscan", "nessus", "nikto", "sqlmap", "acunetix", "netsparker", "qualys", "openvas",
)  # fmt: skip
_HEADLESS = (
    "headless", "phantomjs", "slimerjs", "casperjs", "puppeteer", "playwright", "selenium", "webdriver", "chromedriver",
    "cypress/", "zombie.js", "htmlunit", "jsdom", "nightmare", "testcafe", "prerender",
    "rendertron", "chrome-lighthouse", "ptst/",
)  # fmt: skip
#: Libraries and command lines. `CFNetwork` and `Dalvik` alone are an app at work, not what people browse with.
_TOOLS = (
    r"^curl/", "libcurl", r"^wget", "python-", r"^python/", r"\bpython \d", "httpx/", "aiohttp", "urllib", "scrapy", "mechanize",
    "go-http-client", r"^go ", "go-resty", "fasthttp", r"^java/", "java-http-client", "httpclient", "http-client", "http client",
    "okhttp", "retrofit", r"^jetty", r"^ahc/", r"^jersey", "vert.x", "axios/", "node-fetch", "undici", r"^node", r"^got ",
    r"\bgot/", "superagent", r"request\.js", "libwww", "lwp::", "lwp-", "lua-resty", r"^php", "guzzle", r"^ruby", "faraday",
    "rest-client", r"http\.rb", "typhoeus", r"^dart", "ktor-client", "reqwest", r"^hyper/", r"^ureq", "restsharp", r"^\.net",
    "winhttp", "wininet", "powershell", "cfnetwork", "dataaccessd", r"^dalvik/", r"^postman", "postmanruntime", "insomnia",
    "httpie", "apachebench", "jmeter", "gatling", r"^k6/", "locust", r"^vegeta", r"^hey/", r"^wrk", r"^siege", "w3c-checklink",
    "w3c_validator", r"^yarn/", r"^npm/", r"^bun/", r"^deno/", r"^lavf/", r"^vlc/", "hubspot connect", "androiddownloadmanager",
)  # fmt: skip
#: Whoever leaves an address for complaints (`+https://…`) is no browser.
_CRAWLERS = (
    r"\+ ?https?:", r"\+ ?www\.", r"\bbot\b.{0,40}https?:", "googlebot", "googleother", "google-inspectiontool",
    "google-read-aloud",
    "adsbot-", "mediapartners", "apis-google", "feedfetcher", "storebot", "bingbot", "adidxbot", "msnbot", "yandexbot",
    "yandex.com/bots", "baiduspider", "duckduckbot", "duckassistbot", "slurp", "petalbot", "sogou web", "sogou spider", "yeti/",
    "seznambot", "qwantbot", "ahrefs", "semrush", "mj12bot", "dotbot", "dataforseo", "gptbot", "chatgpt-user", "oai-searchbot",
    "claudebot", "claude-user", "claude-web", "anthropic", "perplexity", "ccbot", "bytespider", "amazonbot", "ia_archiver",
    "archive.org_bot", "uptimerobot", "pingdom", "statuscake", "site24x7", "datadog", "newrelic", "betteruptime", "gtmetrix",
    "crawler", "spider", "scraper",
)  # fmt: skip
#: Browsers of phones and inside apps. They say what they are in an agent that begins like any browser's, and the second
#: opinion is not asked about them: it knows names of crawlers that models of phones and campaigns have too.
_PEOPLE = re.compile(
    r"^(?:mozilla/5\.0|opera/9\.\d+) \(.*(?:"
    r"fban/|fbav/|fb_iab|instagram \d|barcelona \d|wa4a/|waios/|whatsapp/|messengerforios|kakaotalk \d|\bline/\d|naver\(|viber/\d"
    r"|snapchat/\d|twitter for|tiktok|musical_ly|bytedancewebview|trill_|telegram|micromessenger|zalo|linkedinapp"
    r"|\[pinterest/|\bgsa/|googleapp/|duckduckgo/|ddg/|samsungbrowser/|ucbrowser/|ubrowser/|opera mini/|opr/|opt/|silk/"
    r"|huaweibrowser/|miuibrowser/|heytapbrowser/|vivobrowser/|yabrowser/|coc_coc_browser/|focus/|klar/|fxios/|crios/"
    r"|edgios/|edga/|edg/|brave/|vivaldi/|ecosia |puffin/|whale/|phoenix/|kaios/|iemobile/)"
)
#: Every browser since 1994 says one of these, and then what it runs on.
_BROWSER = re.compile(
    r"^mozilla/\d\.\d+ ?[(\[]|^opera/\d.*\(|applewebkit/|safari/\d|ucweb|ucbrowser|midp|cldc|wap[ -]?browser|obigo"
    r"|^blackberry|^nokia|^samsung|^lg-|^sonyericsson|^docomo|^kddi|^softbank|^lynx/|^links |^w3m/|^dillo|^netsurf"
)

_ELSEWHERE = re.compile(
    r"smart-?tv|google ?tv|android tv|apple ?tv|bravia|hbbtv|netcast|web0s|tizen.{0,20}tv|\baft[a-z]{1,5}\b|roku|crkey"
    r"|playstation|nintendo|xbox|\bwatch|oculus|quest [23p]|tesla|carplay|nexus player"
)
_TABLET = re.compile(
    r"ipad|tablet(?! pc)|kindle|\bkf[a-z]{2,6}\b|silk/|playbook|nexus (?:7|9|10)\b|\bsm-[tx]\d|\bgt-p\d|mediapad"
    r"|matepad|\bxoom\b|lenovo (?:tb|yoga tab)|yoga tablet|lenovo tab"
)
_PHONE = re.compile(
    r"iphone|ipod|windows phone|iemobile|blackberry|bb10|opera mini|opera mobi|midp|cldc|nokia"
    r"|series ?[46]0|symbian|kaios|j2me|ucweb|wap[ -]?browser|docomo|kddi|obigo|\(phone;|\bmobile\b"
)
_DESKTOP = re.compile(
    r"windows nt|windows 9|windows; |win64|macintosh|mac os x|x11|\bcros\b|linux (?:x86_64|i686|amd64)|\(pc;"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    #: Why this is a machine's; None for what people may browse with.
    reason: AgentReason | None
    #: What it claims to run on. An iPad calls itself a Mac since 2019.
    device: Device


@lru_cache(maxsize=8192)
def read(agent: str) -> Agent:
    """What is known of a user agent (cropped to `MAX_LENGTH`), however odd; remembered for the next time."""
    agent = agent[:MAX_LENGTH].strip().lower()
    return Agent(reason=_reason(agent), device=_device(agent))


def _reason(agent: str) -> AgentReason | None:
    if not agent:
        return "no_agent"
    for reason, signatures in _SIGNATURES:
        if signatures.search(agent):
            return reason
    if not _PEOPLE.match(agent) and _THEIR_CRAWLERS.search(_THEIR_EXCLUSIONS.sub("", agent)):
        return "crawler_agent"
    return None if _BROWSER.search(agent) else "not_a_browser"


def _device(agent: str) -> Device:
    if _ELSEWHERE.search(agent):
        return "other"
    if _TABLET.search(agent):
        return "tablet"
    if _PHONE.search(agent) or ("android" in agent and "mobi" in agent):
        return "phone"
    if "android" in agent:  # a browser that does not say `Mobile` is on a tablet; an app says nothing either way
        return "tablet" if "applewebkit" in agent or "gecko" in agent else "other"
    return "desktop" if _DESKTOP.search(agent) else "other"


def _compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    """One pattern for all, sorted by first letters: what begins otherwise is passed over at a glance."""
    patterns = list(patterns)
    plain = sorted(each for each in patterns if _PLAIN.match(each))
    groups = [
        f"{first}(?:{'|'.join(each[1:] for each in alike)})"
        for first, alike in groupby(plain, key=lambda each: each[0])
    ]
    return re.compile("|".join(groups + [f"(?:{each})" for each in patterns if not _PLAIN.match(each)]))


def _lowered(pattern: str) -> str:
    """For lower-case agents. Classes stay what they are: `\\S` is not `\\s`."""
    return re.sub(r"\\.|[A-Z]", lambda found: found[0] if found[0][0] == "\\" else found[0].lower(), pattern)


#: A pattern that begins with two letters which are only themselves.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9 -](?![*+?{])[^|]*\Z")
_SIGNATURES: tuple[tuple[AgentReason, re.Pattern[str]], ...] = (
    ("preview_agent", _compiled(_PREVIEWS)),
    ("scanner_agent", _compiled(_SCANNERS)),
    ("headless", _compiled(_HEADLESS)),
    ("tool_agent", _compiled(_TOOLS)),
    ("crawler_agent", _compiled(_CRAWLERS)),
)
# Their last pattern begins with `[a-z0-9\-_]*`, which finds nothing more and takes quadratic time.
_THEIR_CRAWLERS = _compiled(_lowered(each).removeprefix(r"[a-z0-9\-_]*") for each in crawlers.data)
_THEIR_EXCLUSIONS = re.compile("|".join(_lowered(each) for each in exclusions.data))
