FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -tags disable_pgv,grpcnotrace -ldflags "-s -w" -o /sidewire ./cmd/sidewire

FROM scratch
COPY --from=build /sidewire /sidewire
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65534:65534
ENTRYPOINT ["/sidewire"]
CMD ["run", "-c", "/etc/sidewire/sidewire.yaml"]
