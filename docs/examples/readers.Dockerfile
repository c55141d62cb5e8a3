# For compose.readers.yaml: the program's image has no Python, so this one takes the program out of it.
FROM python:3.13-alpine
COPY --from=understory-sync:latest /usr/bin/understory-sync /usr/bin/
