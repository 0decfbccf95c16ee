#!/bin/sh
# As in the image `valkey/valkey`, other containers may connect: who does is a matter of passwords and networks.
exec "$@" --protected-mode no
