# Проверка health checks вручную
curl http://192.168.184.151:8008/master
curl http://192.168.184.152:8008/master
curl http://192.168.184.153:8008/master
# Проверка конфигурации HAProxy
sudo haproxy -c -f /etc/haproxy/haproxy.cfg
