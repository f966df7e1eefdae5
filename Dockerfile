# The image of `make image`, for those who have a container engine.  Its tree is the
# same, with the same name in MANIFEST.json, if Debian has the same packages.

FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates make musl-tools python3 python3-venv
COPY . /src
WORKDIR /src
RUN make tree TREE=/image/amdcni \
 && mkdir /image/bin \
 && ln -s ../amdcni/bin/amdcni /image/bin/amdcni

FROM scratch
COPY --from=build /image/ /
ENV PATH=/bin
LABEL org.opencontainers.image.title="amdcni"
LABEL org.opencontainers.image.description="A CNI plugin that moves NICs into pods and returns everything"
LABEL org.opencontainers.image.version="0.2.0"
ENTRYPOINT ["/bin/amdcni"]
CMD ["--help"]
