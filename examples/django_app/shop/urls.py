"""The shop's routes."""

from django.urls import path

from . import views

urlpatterns = [path("cart", views.add_to_cart), path("events", views.events)]
