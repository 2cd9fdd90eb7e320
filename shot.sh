page=$1; name=$2
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1500 --screenshot=$name-desk.png file://$page >/dev/null 2>&1
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=500,1500 --screenshot=$name-phone.png file://$page >/dev/null 2>&1
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-dark-mode --enable-features=WebContentsForceDark --blink-settings=preferredColorScheme=0 --window-size=1200,1500 --screenshot=$name-dark.png file://$page >/dev/null 2>&1
