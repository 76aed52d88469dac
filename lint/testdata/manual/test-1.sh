# Определяем текущий primary
patronictl -c /etc/patroni/config.yml list
# Имитируем падение primary (например, на узле 1)
sudo systemctl stop patroni
# Мониторинг автоматического переключения
watch "patronictl -c /etc/patroni/config.yml list"
# Проверяем, что приложения продолжают работать через HAProxy
psql -h haproxy_host -p 5000 -U global -d postgres -c "SELECT inet_server_addr();"
