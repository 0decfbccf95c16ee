{{/* The name of everything in this release, to which a part adds its own. */}}
{{- define "cartstream.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a topic, a group or a user of this shop. */}}
{{- define "cartstream.inKafka" -}}
{{- if .root.Values.prefix }}{{ .root.Values.prefix }}.{{ end }}{{ .name }}
{{- end -}}

{{- define "cartstream.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "cartstream.labels" -}}
{{ include "cartstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "cartstream.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Variables of every process; with Strimzi's users those of .role, if it has one. .secret is one that the part alone
has, whose keys come before those of all. */}}
{{- define "cartstream.env" -}}
{{- $own := dig "keys" (list) (.secret | default dict) -}}
- name: CARTSTREAM_PARTITIONS
  value: {{ .root.Values.partitions | quote }}
{{- with .root.Values.prefix }}
- name: CARTSTREAM_PREFIX
  value: {{ . }}
{{- end }}
{{- range $name, $value := .root.Values.config }}
- name: {{ $name }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- range .root.Values.secret.keys }}
{{- if not (has . $own) }}
- name: {{ . }}_FILE
  value: /run/secrets/cartstream/{{ . }}
{{- end }}
{{- end }}
{{- range $own }}
- name: {{ . }}_FILE
  value: /run/secrets/own/{{ . }}
{{- end }}
{{- if include "cartstream.user" . }}
- name: CARTSTREAM_KAFKA_TLS
  value: "true"
- name: CARTSTREAM_KAFKA_TLS_CA
  value: /run/secrets/kafka-ca/ca.crt
{{- if eq .root.Values.strimzi.users.authentication "tls" }}
- name: CARTSTREAM_KAFKA_TLS_CERT
  value: /run/secrets/kafka-user/user.crt
- name: CARTSTREAM_KAFKA_TLS_KEY
  value: /run/secrets/kafka-user/user.key
{{- else }}
- name: CARTSTREAM_KAFKA_SASL_MECHANISM
  value: SCRAM-SHA-512
- name: CARTSTREAM_KAFKA_SASL_USERNAME
  value: {{ include "cartstream.user" . }}
- name: CARTSTREAM_KAFKA_SASL_PASSWORD_FILE
  value: /run/secrets/kafka-user/password
{{- end }}
{{- end }}
{{- end -}}

{{/* The KafkaUser of .role, whose Secret has its name; empty without Strimzi's users. */}}
{{- define "cartstream.user" -}}
{{- if and .role .root.Values.strimzi.enabled .root.Values.strimzi.users.enabled -}}
{{- include "cartstream.inKafka" (dict "root" .root "name" (printf "cartstream-%s" .role)) -}}
{{- end -}}
{{- end -}}

{{/* What every pod has; .grace is how many seconds it may take to stop. */}}
{{- define "cartstream.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ .grace }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "cartstream.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "cartstream.selector" . | nindent 8 }}
{{- end -}}

{{- define "cartstream.container" -}}
image: {{ include "cartstream.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The keys that a pod gets of a Secret. Without items, or with none, it would get every key there is. */}}
{{- define "cartstream.items" -}}
items:
  {{- range . }}
  - {key: {{ . }}, path: {{ . }}}
  {{- end }}
{{- end -}}

{{/* A data folder that is empty at each start is among the volumes unless .storage says that it outlives the pod. */}}
{{- define "cartstream.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- with .root.Values.secret.keys }}
- name: secret
  secret:
    secretName: {{ $.root.Values.secret.name }}
    defaultMode: 0440
    {{- include "cartstream.items" . | nindent 4 }}
{{- end }}
{{- with dig "keys" (list) (.secret | default dict) }}
- name: own-secret
  secret:
    secretName: {{ $.secret.name | default $.root.Values.secret.name }}
    defaultMode: 0440
    {{- include "cartstream.items" . | nindent 4 }}
{{- end }}
{{- if not .storage }}
- name: data
  emptyDir: {}
{{- end }}
{{- if include "cartstream.user" . }}
- name: kafka-user
  secret:
    secretName: {{ include "cartstream.user" . }}
    defaultMode: 0440
- name: kafka-ca
  secret:
    secretName: {{ .root.Values.strimzi.cluster }}-cluster-ca-cert
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cartstream.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.secret.keys }}
- name: secret
  mountPath: /run/secrets/cartstream
  readOnly: true
{{- end }}
{{- if dig "keys" (list) (.secret | default dict) }}
- name: own-secret
  mountPath: /run/secrets/own
  readOnly: true
{{- end }}
- name: data
  mountPath: /var/lib/cartstream
{{- if include "cartstream.user" . }}
- name: kafka-user
  mountPath: /run/secrets/kafka-user
  readOnly: true
- name: kafka-ca
  mountPath: /run/secrets/kafka-ca
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Probes of a process without routes of its own, at its metrics port. */}}
{{- define "cartstream.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /health/ready, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
