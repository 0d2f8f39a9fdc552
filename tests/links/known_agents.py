"""User agents as they were seen, each with where it is from, and what is expected of it.

Sources, by their letters:
  A  apps' and previews' agents in issues of public repositories (arcjet/well-known-bots#36, mssola/user_agent#64)
  B  Braze's documentation on clicks that people did not make
  C  JayBizzle/Crawler-Detect, the lists of its tests
  D  embracethered.com, 2023-04-15: what chats send to unfurl a link
  E  lists of what opened mails and short messages, in public repositories and in suped.com's and bloomreach.com's help
  F  monperrus/crawler-user-agents
  G  tests of in-app browser detection in public repositories; WhatsApp's from its decompiled WebView
  H  zenn.dev/kecy, 2021: agents read off an iPhone 12 and a Pixel 4
  I  faisalman/ua-parser-js and other parsers' tests
  J  the form that the browser's maker documents, with a version of the day: from knowledge, not looked up again
  K  what the program says by default: from knowledge
"""
# ruff: noqa: E501 - agents are long, and are read best as they were sent

IMESSAGE = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 "
    "facebookexternalhit/1.1 Facebot Twitterbot/1.0"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE_SAFARI = f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A.240805.005; wv) AppleWebKit/537.36 (KHTML, like Gecko)"
ANDROID_CHROME = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36"
)
WINDOWS_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
MAC_SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Safari/605.1.15"
NEXUS_5X = "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko)"
LINUX_CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"

#: What, the agent, the source, the reason, the device.
MACHINES = [
    # previews in chats and posts
    ("WhatsApp on Android", "WhatsApp/2.23.20.0 A", "E", "preview_agent", "other"),
    ("WhatsApp on iOS", "WhatsApp/2.12.15/i", "C", "preview_agent", "other"),
    ("Signal", "WhatsApp/2", "D", "preview_agent", "other"),
    ("Apple Messages", IMESSAGE, "A", "preview_agent", "desktop"),
    ("Google Messages", "GoogleMessages/20.2 facebookexternalhit/1.1 Facebot Twitterbot/1.0", "B", "preview_agent", "other"),
    ("Telegram", "TelegramBot (like TwitterBot)", "D", "preview_agent", "other"),
    ("Slack", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "D", "preview_agent", "other"),
    ("Slack's pictures", "Slack-ImgProxy 0.19 (+https://api.slack.com/robots)", "C", "preview_agent", "other"),
    ("Discord", "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", "D", "preview_agent", "other"),
    ("Facebook", "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "C", "preview_agent", "other"),
    ("Meta", "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)", "J", "preview_agent", "other"),
    ("Twitter", "Twitterbot/1.0", "C", "preview_agent", "other"),
    ("LinkedIn", "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)", "F", "preview_agent", "other"),
    ("Skype", "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5", "C", "preview_agent", "desktop"),
    ("Teams", "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com", "D", "preview_agent", "desktop"),
    ("Microsoft", "Mozilla/5.0 (compatible; MicrosoftPreview/2.0; +https://aka.ms/MicrosoftPreview)", "C", "preview_agent", "other"),
    ("Viber", "Viber/18.0.1.286 CFNetwork/1335.0.3 Darwin/21.6.0", "E", "preview_agent", "other"),
    ("Line", "facebookexternalhit/1.1;line-poker/1.0", "C", "preview_agent", "other"),
    ("KakaoTalk", "facebookexternalhit/1.1; kakaotalk-scrap/1.0; +https://devtalk.kakao.com/t/scrap/33984", "G", "preview_agent", "other"),
    ("Snapchat", "Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots", "C", "preview_agent", "other"),
    ("Pinterest", "Pinterest/0.2 (+https://www.pinterest.com/bot.html)", "C", "preview_agent", "other"),
    ("Pinterest as a phone", f"{NEXUS_5X} Chrome/41.0.2272.96 Mobile Safari/537.36 (compatible; Pinterestbot/1.0; "
     "+https://www.pinterest.com/bot.html)", "C", "preview_agent", "phone"),
    ("VK", "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)", "C", "preview_agent", "other"),
    ("Odnoklassniki", "OdklBot/1.0 (share@odnoklassniki.ru)", "C", "preview_agent", "other"),
    ("Reddit", "Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)", "C", "preview_agent", "other"),
    ("Yahoo", "Mozilla/5.0 (compatible; Yahoo Link Preview; https://help.yahoo.com/kb/mail/yahoo-link-preview-SLN23615.html)", "C",
     "preview_agent", "other"),
    ("Google's snippets", f"{LINUX_CHROME} Chrome/56.0.2924.87 Safari/537.36 Google-PageRenderer Google "
     "(+https://developers.google.com/+/web/snippet/)", "E", "preview_agent", "desktop"),
    ("Mastodon", "http.rb/5.1.1 (Mastodon/4.2.10; +https://mastodon.social/)", "G", "preview_agent", "other"),
    ("Matrix", "Synapse (bot; +https://github.com/matrix-org/synapse)", "C", "preview_agent", "other"),
    ("Embedly", "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)", "C", "preview_agent", "other"),
    # scanners
    ("Google's safety check", "Google-Safety; (+http://www.google.com/bot.html)", "J", "scanner_agent", "other"),
    ("Office", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.16327; Pro)", "E", "scanner_agent", "desktop"),
    ("Exchange", "Microsoft Exchange/15.20 (Windows NT 10.0; Win64; x64)", "E", "scanner_agent", "desktop"),
    ("Safe Links", "Mozilla/5.0 (compatible; Microsoft-SafeLinks/1.0; +https://aka.ms/safelinks)", "E", "scanner_agent", "other"),
    ("Barracuda", "Barracuda Sentinel (EE)", "B", "scanner_agent", "other"),
    ("Proofpoint", "Mozilla/5.0 (compatible; proofpoint-urldefense/1.0)", "E", "scanner_agent", "other"),
    ("Mimecast", "Mozilla/5.0 (compatible; Mimecast Attachment Protect/2.0)", "E", "scanner_agent", "other"),
    ("Symantec", "Mozilla/5.0 (compatible; Symantec Email Security.cloud Link Following)", "E", "scanner_agent", "other"),
    ("Trend Micro", "Mozilla/5.0 (compatible; TrendMicro Email Security Link Scan)", "E", "scanner_agent", "other"),
    ("Forcepoint", "Mozilla/5.0 (compatible; Forcepoint Email Security URL Analysis)", "E", "scanner_agent", "other"),
    ("Bitdefender", "Mozilla/5.0 (compatible; Bitdefender Link Scanner/1.0)", "E", "scanner_agent", "other"),
    ("Cloudmark, at carriers", "Mozilla/5.0 (compatible; Cloudmark Authority Link Checker)", "E", "scanner_agent", "other"),
    ("Palo Alto", "Expanse, a Palo Alto Networks company, searches across the global IPv4 space multiple times per day to identify "
     "customers&#39; presences on the Internet. If you would like to be excluded from our scans, please send IP addresses/domains to: "
     "scaninfo@paloaltonetworks.com", "C", "scanner_agent", "other"),
    ("Cortex", "cortex/1.0", "C", "scanner_agent", "other"),
    ("Alibaba", "AliyunSecBot/Aliyun (AliyunSecBot@service.alibaba.com)", "C", "scanner_agent", "other"),
    ("a carriers' mail filter", "SCMGUARD", "E", "scanner_agent", "other"),
    # headless browsers
    ("Chrome without a head", f"{LINUX_CHROME} HeadlessChrome/120.0.0.0 Safari/537.36", "K", "headless", "desktop"),
    ("PhantomJS", "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1", "K",
     "headless", "desktop"),
    ("Lighthouse", f"{LINUX_CHROME} Chrome/98.0.4695.0 Mobile Safari/537.36 Chrome-Lighthouse", "K", "headless", "phone"),
    # programs
    ("curl", "curl/8.7.1", "K", "tool_agent", "other"),
    ("wget", "Wget/1.21.4 (linux-gnu)", "K", "tool_agent", "other"),
    ("requests", "python-requests/2.32.3", "B", "tool_agent", "other"),
    ("httpx", "python-httpx/0.28.1", "K", "tool_agent", "other"),
    ("aiohttp", "Python/3.9 aiohttp/3.8.1", "E", "tool_agent", "other"),
    ("urllib", "Python-urllib/3.11", "F", "tool_agent", "other"),
    ("Go", "Go-http-client/2.0", "F", "tool_agent", "other"),
    ("Java", "Java/17.0.2", "E", "tool_agent", "other"),
    ("Apache's client", "Apache-HttpClient/4.5.1 (Java/1.8.0_172)", "E", "tool_agent", "other"),
    ("okhttp", "okhttp/4.10.0", "E", "tool_agent", "other"),
    ("an app of Android", "Dalvik/2.1.0 (Linux; U; Android 8.0.0; SM-G930V Build/R16NW)", "E", "tool_agent", "other"),
    ("Safari's icons", "MobileSafari/604.1 CFNetwork/1125.2 Darwin/19.4.0", "E", "tool_agent", "other"),
    ("iOS looking up accounts", "iOS/16.5.1 (20F75) dataaccessd/1.0", "E", "tool_agent", "other"),
    ("axios", "axios/1.7.2", "K", "tool_agent", "other"),
    ("node-fetch", "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", "K", "tool_agent", "other"),
    ("Node", "undici", "K", "tool_agent", "other"),
    ("Perl", "W3C-checklink/4.5 [4.160] libwww-perl/5.823", "E", "tool_agent", "other"),
    ("Postman", "PostmanRuntime/7.39.0", "K", "tool_agent", "other"),
    ("PowerShell", "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682", "K", "tool_agent", "desktop"),
    ("nginx's Lua", "lua-resty-http/0.10 (Lua) ngx_lua/10019", "E", "tool_agent", "other"),
    ("Netty's client", "AHC/2.1", "E", "tool_agent", "other"),
    # crawlers
    ("Google", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "F", "crawler_agent", "other"),
    ("Google as a phone", f"{NEXUS_5X} Chrome/41.0.2272.96 Mobile Safari/537.36 (compatible; Googlebot/2.1; "
     "+http://www.google.com/bot.html)", "F", "crawler_agent", "phone"),
    ("Apple", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 "
     "(Applebot/0.1; +http://www.apple.com/go/applebot)", "J", "preview_agent", "desktop"),
    ("Bing", "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) "
     "Chrome/116.0.1938.76 Safari/537.36", "J", "crawler_agent", "other"),
    ("Bytedance", "Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)", "E", "crawler_agent", "other"),
    ("a monitor", "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "E", "crawler_agent", "other"),
    ("one that only crawlerdetect knows", "Mozilla/5.0 (compatible; InternetMeasurement/1.0; +https://internet-measurement.com/)", "C",
     "crawler_agent", "other"),
    ("another", "Mozilla/5.0 (Zoom.Mac 10.8.5 x86)", "C", "crawler_agent", "other"),
    # nothing that anybody browses with
    ("no more than a claim", "Mozilla/5.0", "E", "not_a_browser", "other"),
    ("an unknown program", "acme-link-resolver 3", "made up", "not_a_browser", "other"),
    ("nothing", "", "made up", "no_agent", "other"),
    ("blanks", "   ", "made up", "no_agent", "other"),
]  # fmt: skip

#: What, the agent, the source, the device.
PEOPLE = [
    # phones
    ("Safari, iOS 17", IPHONE_SAFARI, "J", "phone"),
    ("Safari, iOS 26", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0.1 "
     "Mobile/15E148 Safari/604.1", "G", "phone"),
    ("Safari, iOS 10", "Mozilla/5.0 (iPhone; CPU iPhone OS 10_3 like Mac OS X) AppleWebKit/603.1.23 (KHTML, like Gecko) Version/10.0 "
     "Mobile/14E5239e Safari/602.1", "J", "phone"),
    ("Chrome on iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 14_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/91.0.4472.80 "
     "Mobile/15E148 Safari/604.1", "H", "phone"),
    ("Firefox on iOS", f"{IPHONE} FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "J", "phone"),
    ("Edge on iOS", f"{IPHONE} Version/17.0 EdgiOS/126.0.2592.56 Mobile/15E148 Safari/605.1.15", "J", "phone"),
    ("Chrome on Android, reduced", ANDROID_CHROME, "J", "phone"),
    ("Chrome on Android", "Mozilla/5.0 (Linux; Android 10; SM-A205U) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/89.0.4389.105 Mobile "
     "Safari/537.36", "I", "phone"),
    ("Chrome on an old Android", "Mozilla/5.0 (Linux; Android 4.0.4; Galaxy Nexus Build/IMM76B) AppleWebKit/535.19 (KHTML, like Gecko) "
     "Chrome/18.0.1025.133 Mobile Safari/535.19", "J", "phone"),
    ("Android's own browser", "Mozilla/5.0 (Linux; U; Android 4.1.2; en-gb; LG-P710 Build/JZO54K) AppleWebKit/534.30 (KHTML, like Gecko) "
     "Version/4.0 Mobile Safari/534.30", "C", "phone"),
    ("Chrome on a Cubot", "Mozilla/5.0 (Linux; Android 13; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile "
     "Safari/537.36", "G", "phone"),
    ("Samsung Internet", "Mozilla/5.0 (Linux; Android 10; SAMSUNG SM-G981U1) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/13.0 "
     "Chrome/83.0.4103.106 Mobile Safari/537.36", "I", "phone"),
    ("Huawei", "Mozilla/5.0 (Linux; Android 10; MED-LX9N; HMSCore 6.14.0.301) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.88 "
     "HuaweiBrowser/14.0.5.302 Mobile Safari/537.36", "I", "phone"),
    ("HarmonyOS", "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 "
     "ArkWeb/4.1.6.1 Mobile HuaweiBrowser/5.0.4.300", "I", "phone"),
    ("Xiaomi", "Mozilla/5.0 (Linux; U; Android 9; ar-eg; Redmi 7 Build/PKQ1.181021.001) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
     "Chrome/71.0.3578.141 Mobile Safari/537.36 XiaoMi/MiuiBrowser/12.8.3-gn", "I", "phone"),
    ("Oppo", "Mozilla/5.0 (Linux; U; Android 13; es-es; CPH2385) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/108.0.0.0 Mobile "
     "Safari/537.36 HeyTapBrowser/45.9.4.1", "I", "phone"),
    ("Firefox on Android", "Mozilla/5.0 (Android 15; Mobile; rv:142.0) Gecko/142.0 Firefox/142.0", "I", "phone"),
    ("Firefox Focus", "Mozilla/5.0 (Linux; Android 7.0) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Focus/1.0 Chrome/59.0.3029.83 "
     "Mobile Safari/537.36", "J", "phone"),
    ("Edge on Android", "Mozilla/5.0 (Linux; Android 10; HD1913) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.6422.165 Mobile "
     "Safari/537.36 EdgA/124.0.2478.104", "J", "phone"),
    ("Opera on Android", "Mozilla/5.0 (Linux; Android 10; VOG-L29) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.6422.165 Mobile "
     "Safari/537.36 OPR/76.2.4027.73374", "J", "phone"),
    ("Opera Mini", "Opera/9.80 (Android; Opera Mini/8.0.1807/36.1609; U; en) Presto/2.12.423 Version/12.16", "I", "phone"),
    ("Opera Mini on an old phone", "Opera/9.80 (J2ME/MIDP; Opera Mini/8.0.35158/90.140; U; ru) Presto/2.12.423 Version/12.16", "I", "phone"),
    ("UC Browser", "Mozilla/5.0 (Linux; U; Android 13; ar-SA; SM-A536B Build/TP1A.220624.014) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Version/4.0 Chrome/78.0.3904.108 UCBrowser/13.4.0.1306 Mobile Safari/537.36", "I", "phone"),
    ("Brave", "Mozilla/5.0 (Linux; Android 12) AppleWebKit/537.36 (KHTML, like Gecko) Brave/96.0.4664.92 Chrome/96.0.4664.92 Mobile "
     "Safari/537.36", "I", "phone"),
    ("DuckDuckGo on Android", "Mozilla/5.0 (Linux; Android 12) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/96.0.4664.92 Mobile "
     "DuckDuckGo/5 Safari/537.36", "I", "phone"),
    ("DuckDuckGo on iOS", f"{IPHONE} Version/17.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15", "I", "phone"),
    ("BlackBerry", "BlackBerry9700/5.0.0.862 Profile/MIDP-2.1 Configuration/CLDC-1.1 VendorID/120", "C", "phone"),
    ("KaiOS", "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "J", "phone"),
    ("Windows Phone", "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063", "J", "phone"),
    ("a phone with its own name first", "LG-H815 Mozilla/5.0 (Linux; Android 6.0; LG-H815 Build/MRA58K) AppleWebKit/537.36 (KHTML, like "
     "Gecko) Version/4.0 Chrome/38.0.2125.102 Mobile Safari/537.36", "C", "phone"),
    # browsers inside apps
    ("Facebook on iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 14_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
     "[FBAN/FBIOS;FBDV/iPhone13,3;FBMD/iPhone;FBSN/iOS;FBSV/14.5;FBSS/3;FBID/phone;FBLC/ja_JP;FBOP/5]", "H", "phone"),
    ("Facebook on iOS, at T-Mobile's", "Mozilla/5.0 (iPhone; CPU iPhone OS 11_0_3 like Mac OS X) AppleWebKit/604.1.38 (KHTML, like Gecko) "
     "Mobile/15A432 [FBAN/FBIOS;FBAV/147.0.0.46.81;FBBV/76961488;FBDV/iPhone8,1;FBMD/iPhone;FBSN/iOS;FBSV/11.0.3;FBSS/2;"
     "FBCR/T-Mobile.pl;FBID/phone;FBLC/pl_PL;FBOP/5;FBRV/0]", "G", "phone"),
    ("Facebook on Android", f"{PIXEL} Version/4.0 Chrome/128.0.6613.127 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/480.0.0.44.72;]", "G", "phone"),
    ("Messenger", f"{PIXEL} Version/4.0 Chrome/128.0.6613.127 Mobile Safari/537.36 [FB_IAB/MESSENGER;FBAV/123.0.0.11.70;]", "G", "phone"),
    ("Instagram on Android", f"{PIXEL} Version/4.0 Chrome/128.0.6613.127 Mobile Safari/537.36 Instagram 389.0.0.49.87 Android (34/14; "
     "420dpi; 1080x2400; Google/google; Pixel 8; shiba; shiba; en_US; 762306041)", "G", "phone"),
    ("Instagram on iOS", f"{IPHONE} Mobile/21F90 Instagram 340.0.3.27.97 (iPhone15,3; iOS 17_5; es_MX; es; scale=3.00; 1290x2796; "
     "621442123)", "G", "phone"),
    ("WhatsApp on Android", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.7390.124 Mobile "
     "Safari/537.36 [WA4A/2.25.32.75;]", "G", "phone"),
    ("WhatsApp on iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0.1 "
     "Mobile/15E148 Safari/604.1 [WAiOS/2.25.31]", "G", "phone"),
    ("Line on iOS", f"{IPHONE} Mobile/15E148 Safari Line/14.9.0", "G", "phone"),
    ("Line on Android", "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0 Mobile "
     "Safari/537.36 Line/14.10.0/IAB", "G", "phone"),
    ("KakaoTalk", f"{IPHONE} Mobile/15E148 KAKAOTALK 10.4.5", "G", "phone"),
    ("Viber", "Mozilla/5.0 (Linux; Android 10; Redmi Note 7 Build/QKQ1.190920.002; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
     "Chrome/81.0.4044.138 Mobile Safari/537.36 Viber/14.7.0.4", "G", "phone"),
    ("Google's app", f"{IPHONE} GSA/321.0.645944285 Mobile/15E148 Safari/604.1", "G", "phone"),
    ("Google's app on Android", "Mozilla/5.0 (Linux; Android 8.0.0; ATU-L31 Build/HUAWEIATU-L31; wv) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Version/4.0 Chrome/88.0.4324.152 Mobile Safari/537.36 GSA/12.2.12.23.arm64", "G", "phone"),
    ("Snapchat", f"{IPHONE} Version/17.5 Mobile/15E148 Snapchat/12.87.0.41 (like Safari/8618.2.12.10.9, panda)", "J", "phone"),
    ("Twitter", f"{IPHONE} Mobile/15E148 Twitter for iPhone/10.44", "J", "phone"),
    ("TikTok", f"{PIXEL} Version/4.0 Chrome/121.0.6167.143 Mobile Safari/537.36 trill_340204 BytedanceWebview/d8a21c6", "G", "phone"),
    ("Pinterest", f"{IPHONE} Mobile/15E148 [Pinterest/iOS]", "G", "phone"),
    ("Naver", "Mozilla/5.0 (Linux; Android 12; SM-G991N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.0.0 Mobile Safari/537.36 "
     "NAVER(inapp; search; 2000; 12.8.0)", "G", "phone"),
    ("WeChat", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
     "MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/es", "J", "phone"),
    ("any app's view on iOS", f"{IPHONE} Mobile/15E148", "J", "phone"),
    ("any app's view on Android", f"{PIXEL} Version/4.0 Chrome/128.0.6613.127 Mobile Safari/537.36", "J", "phone"),
    # tablets
    ("iPad, as itself", "Mozilla/5.0 (iPad; CPU OS 14_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/14.0 Mobile/15E148 "
     "Safari/604.1", "I", "tablet"),
    ("a Samsung tablet", "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
     "G", "tablet"),
    ("a Huawei tablet", "Mozilla/5.0 (Linux; Android 12; HarmonyOS; DBR-W00; HMSCore 6.16.4.352) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/132.0.6834.79 HuaweiBrowser/17.0.8.310 Safari/537.36", "I", "tablet"),
    ("a Nexus 7", "Mozilla/5.0 (Linux; Android 4.4; Nexus 7/JSS15R) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/34.0.1847.114 Mobile "
     "Safari/537.36", "C", "tablet"),
    ("a Fire tablet", "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/112.5.1 like Chrome/112.0.5615.213 "
     "Safari/537.36", "J", "tablet"),
    ("Firefox on a tablet", "Mozilla/5.0 (Android 13; Tablet; rv:126.0) Gecko/126.0 Firefox/126.0", "J", "tablet"),
    # desktops
    ("Chrome on Windows", WINDOWS_CHROME, "J", "desktop"),
    ("Edge", f"{WINDOWS_CHROME} Edg/141.0.0.0", "J", "desktop"),
    ("Opera", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/77.0.3865.90 Safari/537.36 "
     "OPR/64.0.3417.73", "I", "desktop"),
    ("Firefox on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0", "J", "desktop"),
    ("Firefox on Linux", "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:48.0) Gecko/20100101 Firefox/48.0", "I", "desktop"),
    ("Safari on a Mac", MAC_SAFARI, "J", "desktop"),
    ("Chrome on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36", "G", "desktop"),
    ("DuckDuckGo on a Mac", f"{MAC_SAFARI} Ddg/17.4.1", "I", "desktop"),
    ("a Chromebook", "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "J",
     "desktop"),
    ("Internet Explorer 11", "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "I", "desktop"),
    ("Internet Explorer on a Tablet PC", "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0; .NET CLR 3.5.30729)",
     "J", "desktop"),
    ("Yandex's browser", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
     "YaBrowser/24.7.0.0 Safari/537.36", "I", "desktop"),
    ("Coc Coc", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) coc_coc_browser/124.0.198 Chrome/118.0.0.0 "
     "Safari/537.36", "G", "desktop"),
    ("Avast's browser", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 "
     "Avast/124.0.25038.207", "J", "desktop"),
    ("Norton's browser", f"{WINDOWS_CHROME} Norton/124.0.25038.207", "J", "desktop"),
    # elsewhere
    ("a television", "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36",
     "J", "other"),
]  # fmt: skip
