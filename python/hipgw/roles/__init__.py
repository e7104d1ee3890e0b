"""Policies that join protocol, data plane and platform: what hipgw is to its user."""
