"""The application that `litestar --app shop.app:app` serves."""

import os
from pathlib import Path

from shop.on_sqlspec import create_app

app = create_app(Path(os.environ.get("SHOP_DATABASE", "shop.db")))
