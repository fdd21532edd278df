"""The shop's settings, from the environment."""

import os

DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
INSTALLED_APPS = ["shop"]  # for its command
ROOT_URLCONF = "shop.urls"
SHOP_BRAND = os.environ.get("SHOP_BRAND", "my-brand")
