{{/*
Contradictions between values, each answered by a sentence that names them. What one value alone can
get wrong is in values.schema.json.
*/}}

{{- define "tidalserve.validate" -}}
{{- $server := .Values.server }}
{{- $gateway := .Values.gateway }}
{{- include "tidalserve.validateComponent" (dict "name" "server" "values" $server) }}
{{- include "tidalserve.validateGpu" . }}
{{- include "tidalserve.validateModel" . }}
{{- include "tidalserve.validateTls" . }}
{{- include "tidalserve.validateAutoscaling" . }}
{{- include "tidalserve.validateRouting" . }}
{{- if $gateway.enabled }}
{{- include "tidalserve.validateComponent" (dict "name" "gateway" "values" $gateway) }}
{{- if lt (int $gateway.shutdown.timeoutSeconds) (int $server.shutdown.timeoutSeconds) }}
{{- fail (printf "gateway.shutdown.timeoutSeconds is %d, less than the %d of server.shutdown.timeoutSeconds: the gateway would cut streams that servers finish" (int $gateway.shutdown.timeoutSeconds) (int $server.shutdown.timeoutSeconds)) }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor are both enabled: every pod would be scraped twice" }}
{{- end }}
{{- end }}

{{/* Ports, shutdown, rollout and disruption of the servers or the gateway. */}}
{{- define "tidalserve.validateComponent" -}}
{{- $shutdown := .values.shutdown }}
{{- $needed := add $shutdown.preStopSeconds $shutdown.timeoutSeconds 5 }}
{{- if and $shutdown.gracePeriodSeconds (lt (int $shutdown.gracePeriodSeconds) (int $needed)) }}
{{- fail (printf "%s.shutdown.gracePeriodSeconds is %d, less than preStopSeconds %d + timeoutSeconds %d + 5: requests would be killed while they drain" .name (int $shutdown.gracePeriodSeconds) (int $shutdown.preStopSeconds) (int $shutdown.timeoutSeconds)) }}
{{- end }}
{{- $taken := dict }}
{{- range $use, $port := .values.ports }}
{{- if $port }}
{{- $number := toString (int $port) }}
{{- if hasKey $taken $number }}
{{- fail (printf "%s.ports.%s is %s, which %s.ports.%s has already" $.name $use $number $.name (get $taken $number)) }}
{{- end }}
{{- $_ := set $taken $number $use }}
{{- end }}
{{- end }}
{{- $none := list "0" "0%" }}
{{- if and (has (toString .values.strategy.maxSurge) $none) (has (toString .values.strategy.maxUnavailable) $none) }}
{{- fail (printf "%s.strategy: maxSurge and maxUnavailable are both 0: no pod could ever be replaced" .name) }}
{{- end }}
{{- $budget := .values.podDisruptionBudget }}
{{- if $budget.enabled }}
{{- $hasMin := ne (toString $budget.minAvailable) "" }}
{{- $hasMax := ne (toString $budget.maxUnavailable) "" }}
{{- if eq $hasMin $hasMax }}
{{- fail (printf "%s.podDisruptionBudget needs exactly one of minAvailable and maxUnavailable; set the other to \"\"" .name) }}
{{- end }}
{{- if or (eq (toString $budget.minAvailable) "100%") (has (toString $budget.maxUnavailable) $none) (and $hasMin (not (kindIs "string" $budget.minAvailable)) (ge (int $budget.minAvailable) (int .values.replicas))) }}
{{- fail (printf "%s.podDisruptionBudget allows no pod to go: no node with one could ever be drained" .name) }}
{{- end }}
{{- end }}
{{- range $flag := list "host" "http_port" "grpc_port" "health_port" "shutdown_timeout" "config" "flagfile" "api_key" "api_key_file" "tls_cert_file" "tls_key_file" "tls_client_ca_file" "model" "served_model_name" "device" "tensor_parallel_size" "grpc_target" "grpc_ca_file" "grpc_cert_file" "grpc_key_file" }}
{{- if hasKey $.values.config $flag }}
{{- fail (printf "%s.config sets %s, which the chart sets from other values" $.name $flag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.validateGpu" -}}
{{- $gpu := .Values.server.gpu }}
{{- $count := int $gpu.count }}
{{- $ranks := int .Values.server.tensorParallelSize }}
{{- if and (eq .Values.image.variant "cpu") $count }}
{{- fail (printf "server.gpu.count is %d, but image.variant is cpu, which cannot use a GPU" $count) }}
{{- end }}
{{- if eq .Values.image.variant "cuda" }}
{{- if and $count (ne $count $ranks) }}
{{- fail (printf "server.gpu.count is %d, but server.tensorParallelSize is %d: a server uses as many GPUs as it has processes; leave out server.gpu.count" $count $ranks) }}
{{- end }}
{{- if and (gt $ranks 1) (regexMatch "/mig-|\\.shared$" $gpu.resource) }}
{{- fail (printf "server.gpu.resource is %s, but server.tensorParallelSize is %d: parts of GPUs cannot reach each other's memory; use whole ones" $gpu.resource $ranks) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.validateModel" -}}
{{- $claim := .Values.model.claim }}
{{- if and $claim.create $claim.existing }}
{{- fail "model.claim.create and model.claim.existing: give one of the two" }}
{{- end }}
{{- if and $claim.subPath (not $claim.create) (not $claim.existing) }}
{{- fail "model.claim.subPath is set, but there is no claim: set model.claim.existing or create" }}
{{- end }}
{{- $most := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.server.replicas | int }}
{{- if and $claim.create (gt $most 1) }}
{{- if not (or (has "ReadWriteMany" $claim.accessModes) (has "ReadOnlyMany" $claim.accessModes)) }}
{{- fail (printf "model.claim.accessModes lets one node mount the models, but there may be %d servers: use ReadWriteMany or ReadOnlyMany" $most) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.validateTls" -}}
{{- $tls := .Values.tls }}
{{- if and $tls.enabled (not $tls.secretName) }}
{{- fail "tls.enabled needs tls.secretName, a Secret with tls.crt and tls.key" }}
{{- end }}
{{- if and $tls.clientCertificates (not $tls.enabled) }}
{{- fail "tls.clientCertificates needs tls.enabled" }}
{{- end }}
{{- if and $tls.enabled (eq .Values.server.probes.type "grpc") }}
{{- fail "server.probes.type is grpc, but tls.enabled is true: Kubernetes' gRPC probes speak no TLS; use http" }}
{{- end }}
{{- $ports := list .Values.server.ports.health }}
{{- if .Values.gateway.enabled }}{{ $ports = append $ports .Values.gateway.ports.health }}{{ end }}
{{- range $ports }}
{{- if and $tls.clientCertificates (not .) }}
{{- fail "tls.clientCertificates needs server.ports.health and gateway.ports.health: probes have no certificate" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.validateAutoscaling" -}}
{{- $scaling := .Values.autoscaling }}
{{- if $scaling.enabled }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas is %d, more than maxReplicas %d" (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- if or (lt (int $scaling.fallback.replicas) (int $scaling.minReplicas)) (gt (int $scaling.fallback.replicas) (int $scaling.maxReplicas)) }}
{{- fail (printf "autoscaling.fallback.replicas is %d, not within minReplicas %d and maxReplicas %d" (int $scaling.fallback.replicas) (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- if not $scaling.prometheusAddress }}
{{- fail "autoscaling.enabled needs autoscaling.prometheusAddress, for example http://prometheus.monitoring:9090" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.validateRouting" -}}
{{- $pool := .Values.inferencePool }}
{{- $route := .Values.httpRoute }}
{{- if and $pool.enabled (not $pool.endpointPicker.name) }}
{{- fail "inferencePool.enabled needs inferencePool.endpointPicker.name, the Service of the endpoint picker" }}
{{- end }}
{{- if and $route.enabled (not $route.parentRefs) }}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs, the Gateways that carry it" }}
{{- end }}
{{- if and $route.enabled (eq $route.backend "inferencePool") (not $pool.enabled) }}
{{- fail "httpRoute.backend is inferencePool, but inferencePool.enabled is false" }}
{{- end }}
{{- end }}
