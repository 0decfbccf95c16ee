"""The demo: one cart from the shop page to the mail, shown at each station, on a stack that runs."""
