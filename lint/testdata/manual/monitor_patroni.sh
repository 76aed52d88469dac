#!/bin/bash
# monitor_patroni.sh - скрипт для мониторинга состояния кластера
CLUSTER_STATUS=$(patronictl -c /etc/patroni/config.yml list -f json)
LEADER_COUNT=$(echo $CLUSTER_STATUS | jq '[.[] | select(.Role == "Leader")] | length')
if [ "$LEADER_COUNT" -ne 1 ]; then
echo "ALERT: No leader or multiple leaders in cluster!"
# Отправка уведомления (email, slack, etc.)
fi
# Проверка лага репликации
echo $CLUSTER_STATUS | jq -r '.[] | select(.Role == "Replica") | "\(.Member) lag: \(."Lag in MB") MB"'
