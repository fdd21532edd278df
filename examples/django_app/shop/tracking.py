"""The shop's client: one for the process, made when the views are loaded."""

from django.conf import settings

from masivo import Client

client = Client(brand_id=settings.SHOP_BRAND)
